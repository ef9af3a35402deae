package local

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// busy takes its time for each announcement.
type busy struct {
	announced atomic.Int64
	free      chan struct{} // what it waits for
}

func (b *busy) Published(broker.Publication) {
	b.announced.Add(1)
	<-b.free
}
func (b *busy) Erased(string, store.Position) {}
func (b *busy) Lost(string)                   {}

// Many publish in one topic as fast as they can, more than is let in at one time:
// each gets its share.
func TestThePublishersOfATopicAreServedFairly(t *testing.T) {
	const publishers, total = 64, 64 * 50
	for name, keep := range map[string]*store.Retention{"retained": {Keep: 10}, "ephemeral": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &busy{free: make(chan struct{})}
				b := New(store.NewMemory())
				b.Start(sink)
				if err := b.Subscribe(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
				// One at a time: a mutex that is waited for is none of what a bubble waits with.
				payload := make([]byte, maxAdmitted)
				counts := make([]int, publishers)
				ctx, cancel := context.WithCancel(t.Context())
				var publishing sync.WaitGroup
				for i := range counts {
					publishing.Go(func() {
						for ctx.Err() == nil {
							p := broker.Publication{Topic: "a", Message: store.Message{Event: "e", Payload: payload}}
							if _, err := b.Publish(ctx, p, keep); err == nil {
								counts[i]++
							}
						}
					})
				}
				for range total {
					synctest.Wait() // until all have come: the order is ours, not that of Go's scheduler
					sink.free <- struct{}{}
				}
				cancel()
				close(sink.free)
				publishing.Wait()
				if slices.Max(counts) > 3*slices.Min(counts) {
					t.Errorf("from %d to %d messages of each publisher, want at most three times as many: %v", slices.Min(counts), slices.Max(counts), counts)
				}
			})
		})
	}
}

// What is let in at one time is bounded by bytes. A publisher waits no
// longer than its context lasts, and then nothing was published.
func TestAPublisherWaitsWithinItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &busy{free: make(chan struct{})}
		history := store.NewMemory()
		b := New(history)
		b.Start(sink)
		if err := b.Subscribe(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		publish := func(ctx context.Context, bytes int, keep *store.Retention) error {
			_, err := b.Publish(ctx, broker.Publication{Topic: "a", Message: store.Message{Event: "e", Payload: make([]byte, bytes)}}, keep)
			return err
		}
		const large = 2 * maxAdmitted // counts no more than all that there is
		var publishing sync.WaitGroup
		publishing.Go(func() {
			if err := publish(t.Context(), large, nil); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		late := errors.New("too late")
		for _, keep := range []*store.Retention{nil, {Keep: 10}} {
			ctx, cancel := context.WithCancelCause(t.Context())
			publishing.Go(func() {
				if err := publish(ctx, 1, keep); !errors.Is(err, late) {
					t.Errorf("got %v, want %v", err, late)
				}
			})
			synctest.Wait()
			cancel(late)
			synctest.Wait()
		}
		if page, err := history.Read(t.Context(), "a", store.Range{Limit: 10}); err != nil || len(page.Messages) > 0 {
			t.Errorf("got %d messages and error %v, want none", len(page.Messages), err)
		}
		close(sink.free)
		publishing.Wait()
		if n := sink.announced.Load(); n != 1 {
			t.Errorf("%d announcements, want 1", n)
		}
		if err := publish(t.Context(), 1, nil); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}
