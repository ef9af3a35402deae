package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-chime/chime/store/internal/eviction"
)

// Between the look at all topics and the end of one it may have been appended to.
func TestATopicThatWasAppendedToSinceStays(t *testing.T) {
	s := NewMemory()
	for range 2 {
		if _, err := s.Append(t.Context(), "a", Message{}, Retention{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if s.evict(eviction.Topic{Name: "a", Top: 1}) || s.evict(eviction.Topic{Name: "b"}) {
		t.Error("a topic went that was appended to since, or one that is not known")
	}
	if !s.evict(eviction.Topic{Name: "a", Top: 2}) || s.Stats().Topics != 0 {
		t.Error("a topic stays that is as it was")
	}
}

// Where nothing may go, not every append looks at all topics.
func TestNobodyLooksForRoomInVain(t *testing.T) {
	s := NewMemory(MaxTopics(10))
	for i := range 20 {
		if _, err := s.Append(t.Context(), fmt.Sprint(i), Message{}, Retention{}, nil); (i < 10) != (err == nil) || err != nil && !errors.Is(err, ErrFull) {
			t.Errorf("append %d: got %v", i, err)
		}
	}
	again := s.room.again.Load()
	if wait := time.Until(time.Unix(0, again)); wait < eviction.Settled/2 || wait > eviction.Settled {
		t.Errorf("the next look is in %v, want %v", wait, eviction.Settled)
	}
	_, _ = s.Append(t.Context(), "one more", Message{}, Retention{}, nil)
	if s.room.again.Load() != again {
		t.Error("an append looked at all topics before that")
	}
}
