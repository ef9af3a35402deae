package channel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// refusing is a broker that refuses what is published.
type refusing struct {
	broker.Broker
	why error
}

func (f *refusing) Publish(context.Context, broker.Publication, *store.Retention) (store.Position, error) {
	return store.Position{}, fmt.Errorf("publish: %w", f.why)
}

func TestWhyABroadcastFailedIsCounted(t *testing.T) {
	b := &refusing{Broker: local.New(nil)}
	h := NewHub(Config{Broker: b})
	h.Channel("a", &scripted{})
	causes := map[string]error{
		"full": store.ErrFull, "too_large": broker.ErrTooLarge, "unavailable": broker.ErrUnavailable, "uncertain": broker.ErrUncertain, "other": store.ErrClosed,
	}
	for _, b.why = range causes {
		if err := h.Broadcast(t.Context(), "a", "e", nil); err == nil {
			t.Error("got no error")
		}
	}
	for cause := range causes {
		if n := h.stats.Families(stats.Moment{}).Value("chime_publish_errors_total", "a", cause); n != 1 {
			t.Errorf("%s: got %v, want 1", cause, n)
		}
	}
}

func TestWhatABrokerMayHaveLostIsCounted(t *testing.T) {
	h := NewHub(Config{})
	h.topics.Lost("")
	h.topics.Lost("a")
	h.topics.Lost("b")
	fs := h.stats.Families(stats.Moment{})
	if all, one := fs.Value("chime_broker_lost_total", "all"), fs.Value("chime_broker_lost_total", "topic"); all != 1 || one != 2 {
		t.Errorf("got %v of all and %v of a topic, want 1 and 2", all, one)
	}
}

// What a handler could not do since its client has left is no error of the application's;
// what fails all the same is.
func TestWhoHasLeftFillsNoLog(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		what   string
		fail   func(ctx context.Context) error
		errors int
	}{
		{"canceled", func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("store: %w", ctx.Err()) }, 0},
		{"another error", func(ctx context.Context) error { <-ctx.Done(); return boom }, 1},
		{"canceled by somebody else", func(context.Context) error { return context.Canceled }, 1},
	} {
		for _, handler := range []string{"join", "message"} {
			synctest.Test(t, func(t *testing.T) { // a handler has some seconds before its context ends
				var log strings.Builder
				h := NewHub(Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
				begun := make(chan struct{})
				fail := func(ctx context.Context) error {
					close(begun)
					return c.fail(ctx)
				}
				room := &scripted{}
				if handler == "join" {
					room.join = func(ctx context.Context, _ *Socket, _ Message) (Accepted, error) { return Accepted{}, fail(ctx) }
				} else {
					room.message = func(ctx context.Context, _ *Socket, _ Message) (any, error) { return nil, fail(ctx) }
				}
				h.Channel("a", room)
				r := h.Accept(&sink{id: "client-1", got: new(atomic.Int64)})
				for i, event := range []string{wire.EventJoin, "said"} { // none is heard after a join that was refused
					r.Receive(wire.Frame{JoinRef: wire.RefOf("1"), Ref: wire.RefOf(fmt.Sprint(1 + i)), Topic: "a", Event: event, Payload: []byte("{}")})
				}
				<-begun
				r.Closed(Closed)
				if err := h.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != c.errors {
					t.Errorf("%s in %s: got %d errors in the log, want %d: %s", c.what, handler, n, c.errors, log.String())
				}
			})
		}
	}
}
