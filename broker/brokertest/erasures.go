package brokertest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

func erase(t *testing.T, b broker.Broker, s *sink) {
	var offsets []uint64
	for i := range 5 {
		offsets = append(offsets, publish(t, b, text("a", fmt.Sprint(i)), everything).Offset)
	}
	if err := b.Erase(t.Context(), "a", offsets[2]); err != nil {
		t.Fatal(err)
	}
	if err := b.Erase(t.Context(), "a", offsets[2]); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("erasing twice: got error %v, want %v", err, store.ErrNotFound)
	}
	if page := read(t, b.History(), "a", store.Range{}); len(page.Messages) != 4 {
		t.Errorf("history without one of 5: got %d messages", len(page.Messages))
	}
	if err := b.Erase(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	if page := read(t, b.History(), "a", store.Range{}); len(page.Messages) != 0 || page.Top != offsets[4] {
		t.Errorf("history that was erased: got %d messages up to %d, want none up to %d", len(page.Messages), page.Top, offsets[4])
	}
	s.wait(t, "a", 5)
	publish(t, b, text("a", "last"), everything)
	s.wait(t, "a", 6) // the sink was told before this
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := s.history.Epoch()
	if want := []erasure{{store.Position{Epoch: epoch, Offset: offsets[2]}, 5}, {store.Position{Epoch: epoch}, 5}}; !slices.Equal(s.erased["a"], want) {
		t.Errorf("the sink was told of %v, want %v", s.erased["a"], want)
	}
}

// forget has all of a topic erased while it is published in: what is announced after
// the erasure is in the history, or a join would be sent what was to be forgotten. A
// broker for which publishing, or erasing and telling of it, are two steps fails here.
func forget(t *testing.T, b broker.Broker, s *sink) {
	const rounds, publishers, each = 50, 4, 5
	s.yields = 10
	announced := 0
	for range rounds {
		var wg sync.WaitGroup
		for w := range publishers {
			wg.Go(func() {
				for i := range each {
					if w == 0 && i == each/2 { // while the others publish
						if err := b.Erase(t.Context(), "a", 0); err != nil {
							t.Error(err)
						}
					}
					publish(t, b, text("a", fmt.Sprint(w, i)), everything)
				}
			})
		}
		wg.Wait()
		announced += publishers * each
		s.wantKept(t, "a", s.wait(t, "a", announced), read(t, b.History(), "a", store.Range{}))
	}
}

// tombstone publishes what takes other messages back: the sink is told of the erasure, and
// then of the message that says so to the clients.
func tombstone(t *testing.T, b broker.Broker, s *sink) {
	var at []store.Position
	for i := range 3 {
		at = append(at, publish(t, b, text("a", fmt.Sprint(i)), everything))
	}
	for n, c := range []struct{ erases, want uint64 }{{at[1].Offset, at[1].Offset}, {store.All, 0}} {
		p := text("a", "erased")
		p.Erases = c.erases
		last := publish(t, b, p, everything)
		got := s.wait(t, "a", 4+n)[3+n]
		page := read(t, b.History(), "a", store.Range{})
		if got.Offset != last.Offset || len(page.Messages) == 0 || page.Messages[len(page.Messages)-1].Offset != last.Offset {
			t.Errorf("announced at %d, and the history is %+v, want it last, at %d", got.Offset, page.Messages, last.Offset)
		}
		s.mu.Lock()
		if want := (erasure{store.Position{Epoch: s.history.Epoch(), Offset: c.want}, 3 + n}); !slices.Contains(s.erased["a"], want) {
			t.Errorf("the sink was told of %v, want %v", s.erased["a"], want)
		}
		s.mu.Unlock()
	}
	p := text("a", "erased")
	p.Erases = at[0].Offset
	if _, err := b.Publish(t.Context(), p, everything); !errors.Is(err, store.ErrNotFound) || len(s.of("a")) != 5 || len(s.erased["a"]) != 2 {
		t.Errorf("what erases nothing: got %v, %d announcements, %d erasures; want %v, 5 and 2", err, len(s.of("a")), len(s.erased["a"]), store.ErrNotFound)
	}
}
