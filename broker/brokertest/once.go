package brokertest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// once publishes with the same key many times at once: one is retained and announced,
// before any of the calls returns its position.
func once(t *testing.T, b broker.Broker, s *sink) {
	const publishers, keys = 6, 20
	s.yields = 10
	for k := range keys {
		var wg sync.WaitGroup
		var got [publishers]store.Position
		for w := range publishers {
			wg.Go(func() {
				p := text("a", fmt.Sprint(k))
				p.Key, p.From = fmt.Sprint("key ", k), fmt.Sprint(w)
				got[w] = publish(t, b, p, everything)
			})
		}
		wg.Wait()
		first := s.wait(t, "a", k+1)[k]
		for _, at := range got {
			if want := (store.Position{Epoch: s.history.Epoch(), Offset: first.Offset}); at != want {
				t.Fatalf("position of key %d: got %v, want %v for all", k, at, want)
			}
		}
	}
	other := text("a", "another")
	other.Key = "key 0"
	if at, err := b.Publish(t.Context(), other, everything); !errors.Is(err, store.ErrKeyReused) || at != (store.Position{}) {
		t.Errorf("another payload: got %v, %v, want %v", at, err, store.ErrKeyReused)
	}
	if page := read(t, b.History(), "a", store.Range{}); len(page.Messages) != keys || len(s.of("a")) != keys {
		t.Errorf("got %d messages and %d announcements, want %d", len(page.Messages), len(s.of("a")), keys)
	}
}
