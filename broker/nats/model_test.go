package nats_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// What a longer retention brings back is another test's: the servers have let go of it.
func TestAtRandomItIsLikeMemory(t *testing.T) {
	b := open(t, nats.Options{Server: serve(t), Prefix: prefix(), KeyWindow: time.Hour})
	brokertest.RunModel(t, b, brokertest.Random{Seed: need.Seed(t), Steps: need.Rounds(1500, 6000), Proven: 0.6})
}

// anyOf is three nodes, of which another does what is to be done each time. A server that is
// behind may still have one message that was redacted, so that is waited for.
type anyOf struct {
	*nats.Broker
	list   []*nats.Broker
	stream jetstream.Stream
}

// Nodes of three servers are like memory, too: what one did the others read.
func TestAnyOfThreeNodesIsLikeMemory(t *testing.T) {
	s, p := cluster(t), prefix()
	var a anyOf
	for _, server := range s.list {
		a.list = append(a.list, open(t, nats.Options{Server: server, Prefix: p, Replicas: 3, KeyWindow: time.Hour}))
	}
	a.Broker = a.list[0]
	a.stream = find(t, s.list[0], p).stream
	brokertest.RunModel(t, a, brokertest.Random{Seed: need.Seed(t), Steps: need.Rounds(600, 3000), Proven: 0.5, Within: 2 * time.Second})
}

func (a anyOf) pick() *nats.Broker { return a.list[rand.IntN(len(a.list))] }

func (a anyOf) Start(s broker.Sink) {
	for _, b := range a.list {
		b.Start(s)
	}
}

func (a anyOf) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	at, err := a.pick().Publish(ctx, p, keep)
	if err == nil && p.Erases != 0 {
		err = a.settle(ctx)
	}
	return at, err
}

func (a anyOf) Erase(ctx context.Context, topic string, offset uint64) error {
	if err := a.pick().Erase(ctx, topic, offset); err != nil {
		return err
	}
	return a.settle(ctx)
}

func (a anyOf) History() broker.History { return a.pick().History() }

// settle waits until all servers have what the leader has.
func (a anyOf) settle(ctx context.Context) error {
	for {
		info, err := a.stream.Info(ctx)
		if err != nil || !slices.ContainsFunc(info.Cluster.Replicas, func(r *jetstream.PeerInfo) bool { return !r.Current || r.Lag > 0 }) {
			return err
		}
	}
}

// ignored is a sink that nobody looks at.
type ignored struct{}

func (ignored) Published(broker.Publication)  {}
func (ignored) Erased(string, store.Position) {}
func (ignored) Lost(string)                   {}
