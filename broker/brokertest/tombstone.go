package brokertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

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
