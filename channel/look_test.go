package channel

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// hangingBroker is one of several nodes, whose history answers until it hangs.
type hangingBroker struct {
	broker.Broker
	hangs *atomic.Bool
}

func (b hangingBroker) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	if b.hangs.Load() {
		<-ctx.Done()
		return store.Position{}, context.Cause(ctx)
	}
	return b.Broker.Publish(ctx, p, keep)
}

func (hangingBroker) StartCluster(broker.Node, func(context.Context, []byte) ([]byte, error)) {}
func (hangingBroker) Nodes(context.Context) ([]broker.Node, error)                            { return nil, nil }

func (b hangingBroker) Ask(ctx context.Context, _ []byte) ([]broker.Answer, error) {
	if b.hangs.Load() {
		<-ctx.Done()
	}
	return nil, context.Cause(ctx)
}

func (hangingBroker) Caps() broker.Caps         { return broker.Caps{Nodes: true} }
func (b hangingBroker) History() broker.History { return hangingHistory{b.Broker.History(), b.hangs} }

type hangingHistory struct {
	broker.History
	hangs *atomic.Bool
}

func (h hangingHistory) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	if h.hangs.Load() {
		<-ctx.Done()
		return store.Page{}, context.Cause(ctx)
	}
	return h.History.Read(ctx, topic, r)
}

func (h hangingHistory) Tops(ctx context.Context, topics []string) ([]store.Position, error) {
	_, err := h.Read(ctx, topics[0], store.Range{})
	return make([]store.Position, len(topics)), err
}

// What is looked for, or asked, serves nobody when all clients have ended: a Shutdown does not
// wait for an engine that hangs.
func TestAShutdownWaitsForNoLook(t *testing.T) {
	for name, begin := range map[string]func(*Hub){
		"after a loss": func(h *Hub) { h.topics.Lost("") },
		"now and then": func(*Hub) { time.Sleep(16 * time.Second) },
		"for nodes of another application": func(h *Hub) {
			h.strangers.next.Store(0)
			newReader(h, "another").Close(0, "", transport.Drained)
		},
		"for the text of a draft": func(h *Hub) {
			text, _ := fanout.Piece{By: "another", Draft: "d", At: 5}.Encode()
			h.exchange.hear(broker.Publication{Topic: "a", Message: store.Message{Event: fanout.EventDraft, Payload: text}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kept := store.NewMemory()
				defer kept.Close()
				b := hangingBroker{local.New(kept), new(atomic.Bool)}
				h := NewHub(Config{Broker: b, Log: slog.New(slog.DiscardHandler)})
				h.Channel("{topic}", &scripted{}, History{Keep: 10})
				r := newReader(h, "reader")
				r.says(t, `["1","1","a","phx_join",{}]`)
				synctest.Wait()
				b.hangs.Store(true)
				begin(h)
				synctest.Wait()
				r.Close(0, "", transport.Drained)
				begun := time.Now()
				if err := h.Shutdown(t.Context()); err != nil || time.Since(begun) > 0 {
					t.Errorf("Shutdown: got %v after %v, want nil at once", err, time.Since(begun))
				}
			})
		})
	}
}
