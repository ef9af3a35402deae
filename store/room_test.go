package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/storetest"
)

func TestMemoryIsBoundedInTopics(t *testing.T) {
	storetest.RunBounded(t, func(_ *testing.T, topics int) store.Store {
		return store.NewMemory(store.MaxTopics(topics))
	})
}

func TestMemoryIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1 << 20
		s := store.NewMemory(store.MaxBytes(most))
		fill(t, s, "room:1", 10, store.Retention{})
		// One topic has its share, of which the oldest go.
		fill(t, s, "busy", 2000, store.Retention{})
		p := page(t, s, "busy", store.Range{})
		if n := len(p.Messages); n < 100 || n > 250 || p.Complete || p.Messages[n-1].Offset != p.Top {
			t.Errorf("a topic has %d messages, complete %t, want the newest 250 at most", n, p.Complete)
		}
		large := store.Message{Payload: make([]byte, most/8)}
		if _, err := s.Append(t.Context(), "large", large, store.Retention{}, nil); err != nil || len(page(t, s, "large", store.Range{}).Messages) != 1 {
			t.Errorf("a message of more than a share: got %v, want it kept, as the only one of its topic", err)
		}
		// All of them together are refused while they are young, and go when they are not.
		var err error
		for i := 0; err == nil; i++ {
			_, err = s.Append(t.Context(), fmt.Sprint("name:", i), store.Message{Payload: make([]byte, 1000)}, store.Retention{}, nil)
		}
		if used := s.Stats().Bytes; !errors.Is(err, store.ErrFull) || !errors.Is(s.Health(), store.ErrFull) || used < most || used > most+2000 {
			t.Errorf("got %v, health %v, %d bytes, want %v at %d", err, s.Health(), used, store.ErrFull, most)
		}
		time.Sleep(2 * time.Minute)
		for i := range 5000 {
			if _, err := s.Append(t.Context(), fmt.Sprint("later:", i), store.Message{Payload: make([]byte, 1000)}, store.Retention{}, nil); err != nil {
				t.Fatalf("append %d, later: %v", i, err)
			}
			if i%20 == 0 {
				time.Sleep(time.Minute)
			}
			if used := s.Stats().Bytes; used > most {
				t.Fatalf("%d bytes are in use, want at most %d", used, most)
			}
		}
		if err := s.Health(); err != nil {
			t.Errorf("health: got %v", err)
		}
		if p := page(t, s, "room:1", store.Range{}); len(p.Messages) != 10 || !p.Complete {
			t.Errorf("a topic of a small group has %d messages, complete %t, want all 10", len(p.Messages), p.Complete)
		}
		unbounded := store.NewMemory(store.MaxBytes(0), store.MaxTopics(-1))
		fill(t, unbounded, "a", 1000, store.Retention{})
		if stats := unbounded.Stats(); stats.MaxBytes != 0 || stats.MaxTopics != 0 || stats.Topics != 1 || unbounded.Health() != nil {
			t.Errorf("without bounds: got %+v", stats)
		}
	})
}

// What is counted is what there is, whatever was done.
func TestWhatMemoryCountsIsWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(need.Seed(t), 0))
		s := store.NewMemory(store.MaxBytes(200_000), store.MaxTopics(40))
		for range 3000 {
			topic := fmt.Sprint([]string{"a:", "b:", ""}[r.IntN(3)], r.IntN(30))
			m := store.Message{Event: "said", Payload: make([]byte, r.IntN(2000))}
			switch r.IntN(12) {
			case 0:
				_ = s.Forget(t.Context(), topic)
			case 1:
				_ = s.Redact(t.Context(), topic, page(t, s, topic, store.Range{}).Top)
			case 2:
				time.Sleep(time.Duration(r.IntN(5)) * time.Minute)
			case 3:
				m.Erases = store.All
				fallthrough
			default:
				if r.IntN(3) == 0 {
					m.Key, m.Sum = fmt.Sprint(r.IntN(5)), "s"
				}
				_, _ = s.Append(t.Context(), topic, m, store.Retention{Keep: r.IntN(20), Age: time.Duration(r.IntN(20)) * time.Minute}, nil)
			}
		}
		if got, want := s.Stats(), store.Count(s); got.Bytes != want.Bytes || got.Topics != want.Topics {
			t.Errorf("counted %d bytes and %d topics, and there are %d and %d", got.Bytes, got.Topics, want.Bytes, want.Topics)
		}
	})
}

// The bytes that are counted are no fewer than those of the process.
func TestMemoryCountsWhatItTakes(t *testing.T) {
	for name, c := range map[string]struct{ topics, each, size int }{"small": {10, 2000, 10}, "topics": {20_000, 1, 0}, "large": {100, 10, 5000}} {
		t.Run(name, func(t *testing.T) {
			s := store.NewMemory()
			before := heap()
			for i := range c.topics {
				topic := fmt.Sprint("room:", i)
				for range c.each {
					if _, err := s.Append(t.Context(), topic, store.Message{Event: "said", Payload: make([]byte, c.size)}, store.Retention{}, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			took, counted := int64(heap()-before), s.Stats().Bytes
			if counted < took*9/10 || counted > 3*took {
				t.Errorf("it takes %d bytes, and counts %d", took, counted)
			}
			runtime.KeepAlive(s)
		})
	}
}

// Many append while topics go: what was appended last is there.
func TestRoomIsMadeWhileManyAppend(t *testing.T) {
	s := store.NewMemory(store.MaxBytes(1<<20), store.MaxTopics(200))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				m := store.Message{Payload: make([]byte, 100), At: time.Now()}
				topic := fmt.Sprint(w, ":", i)
				offset, err := s.Append(t.Context(), topic, m, store.Retention{}, nil)
				if err != nil && !errors.Is(err, store.ErrFull) {
					t.Error(err)
				}
				if p := page(t, s, topic, store.Range{}); err == nil && (len(p.Messages) != 1 || p.Top != offset) {
					t.Errorf("%s: got %d messages, want the one that was appended", topic, len(p.Messages))
				}
			}
		})
	}
	wg.Wait()
}
