package channel

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/stats"
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
