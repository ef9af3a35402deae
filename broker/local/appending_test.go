package local_test

import (
	"context"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/store"
)

// meanwhile is a store for which something happens when a message is about to be appended.
type meanwhile struct {
	store.Store
	happens func()
}

func (s *meanwhile) Append(ctx context.Context, topic string, m store.Message, keep store.Retention, announce func(store.Message)) (uint64, error) {
	s.happens()
	return s.Store.Append(ctx, topic, m, keep, announce)
}

// A message is announced to whoever has subscribed by the time it is appended: what is
// retained before that is in the history that is read then.
func TestAMessageIsAnnouncedToWhoHasSubscribedWhenItIsAppended(t *testing.T) {
	for name, tt := range map[string]struct {
		before bool
		steps  []string
		want   int64
	}{
		"nobody":           {false, nil, 0},
		"since before":     {true, nil, 1},
		"meanwhile":        {false, []string{"subscribe"}, 1},
		"no longer":        {true, []string{"unsubscribe"}, 0},
		"again, meanwhile": {true, []string{"unsubscribe", "subscribe"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			kept := &meanwhile{Store: store.NewMemory()}
			b := local.New(kept)
			var s sink
			b.Start(&s)
			step := func(step string) {
				if step == "unsubscribe" {
					b.Unsubscribe("a")
				} else if err := b.Subscribe(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
			}
			kept.happens = func() {
				for _, one := range tt.steps {
					step(one)
				}
			}
			if tt.before {
				step("subscribe")
			}
			at, err := b.Publish(t.Context(), broker.Publication{Topic: "a"}, &store.Retention{Keep: 10})
			if n := s.published.Load(); err != nil || at.Offset != 1 || n != tt.want {
				t.Errorf("got %v, %v and %d announcements, want offset 1 and %d", at, err, n, tt.want)
			}
		})
	}
}
