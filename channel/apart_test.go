package channel

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// apart is a broker whose announcements come a while after Publish has returned, or never, as
// those of several nodes do.
type apart struct {
	broker.Broker
	broker.Sink
	tasks sync.WaitGroup
	after time.Duration // 0: never
}

func (a *apart) Start(s broker.Sink) {
	a.Sink = s
	a.Broker.Start(a)
}
func (a *apart) Caps() broker.Caps { return broker.Caps{Nodes: true} }
func (a *apart) Published(p broker.Publication) {
	if a.after > 0 {
		a.tasks.Go(func() {
			time.Sleep(a.after)
			a.Sink.Published(p)
		})
	}
}

// repeater rebroadcasts whatever is said.
type repeater struct {
	AnyoneMayJoin
	NothingOnLeave
}

func (repeater) HandleMessage(ctx context.Context, s *Socket, m Message) (any, error) {
	return "done", s.Rebroadcast(ctx, m)
}

// noting is a client that notes what it is sent, and when.
type noting struct {
	sink
	mu    sync.Mutex // guards what follows
	began time.Time
	got   []string
}

func (n *noting) Offer(m *wire.Message, to string) bool { return n.Send(m, to) == nil }
func (n *noting) Send(m *wire.Message, _ string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, m.Event+" "+time.Since(n.began).String())
	return nil
}

var _ transport.ClientSocket = (*noting)(nil)

// What a handler broadcasts comes before its reply, though a broker of several nodes announces
// it later; and if it does not, the reply is not kept for ever.
func TestAReplyWaitsForWhatIsAnnounced(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  []string
	}{
		{30 * time.Millisecond, []string{"phx_reply 0s", "say 30ms", "phx_reply 30ms"}},
		{0, []string{"phx_reply 0s", "phx_reply 1s"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &apart{Broker: local.New(store.NewMemory()), after: c.after}
			h := NewHub(Config{Broker: b, Log: slog.New(slog.DiscardHandler)})
			h.Channel("{topic}", repeater{}, History{Keep: 10})
			n := &noting{sink: sink{id: "ann"}, began: time.Now()}
			r := h.Accept(n)
			for i, event := range []string{wire.EventJoin, "say"} {
				r.Receive(wire.Frame{JoinRef: wire.RefOf("1"), Ref: wire.RefOf(fmt.Sprint(i + 1)), Topic: "a", Event: event, Payload: []byte("{}")})
				synctest.Wait()
			}
			if err := h.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.tasks.Wait()
			if !slices.Equal(n.got, c.want) {
				t.Errorf("announced after %v: got %q, want %q", c.after, n.got, c.want)
			}
		})
	}
}

// Nobody waits for what is not sent to anybody here.
func TestWhoPublishesFromOutsideWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(Config{Broker: &apart{Broker: local.New(store.NewMemory())}, Log: slog.New(slog.DiscardHandler)})
		h.Channel("{topic}", repeater{}, History{Keep: 10})
		began := time.Now()
		tell(t, h)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v, want that it waits for no announcement", took)
		}
	})
}
