//go:build unix

package scale

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/redis"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

var quiet = slog.New(slog.DiscardHandler)

// engines are those that nodes are measured over: each returns what opens the broker of one
// more node.
var engines = []struct {
	name string
	open func(*testing.B) func() broker.Broker
}{
	{"memory", func(*testing.B) func() broker.Broker {
		e := brokertest.NewEngine(local.New(store.NewMemory(store.MaxBytes(0))))
		return func() broker.Broker { return e.Node() }
	}},
	{"redis", func(b *testing.B) func() broker.Broker {
		url := redistest.Start(b, "--appendfsync", "everysec").URL()
		return func() broker.Broker {
			br, err := redis.Open(b.Context(), url, redis.Options{Log: quiet})
			if err != nil {
				b.Fatal(err)
			}
			return br
		}
	}},
	{"nats", func(b *testing.B) func() broker.Broker {
		url := serveNATS(b)
		return func() broker.Broker {
			br, err := nats.Open(b.Context(), nats.Options{URL: url, Log: quiet})
			if err != nil {
				b.Fatal(err)
			}
			return br
		}
	}},
}

// node is one with its channel side alone: what a connection costs is the same on each.
type node struct {
	hub    *channel.Hub
	broker broker.Broker
}

type anybody struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (*anybody) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

func openNodes(b *testing.B, n int, open func() broker.Broker) (nodes []*node) {
	for i := range n {
		br := open()
		h := channel.NewHub(channel.Config{Broker: br, Log: quiet, Node: broker.Node{ID: fmt.Sprintf("scale-%02d", i)}})
		h.Channel("{topic}", &anybody{}, channel.History{Keep: 100})
		nodes = append(nodes, &node{h, br})
	}
	b.Cleanup(func() {
		for _, n := range nodes {
			_ = n.hub.Wait(context.Background())
			_ = n.broker.Close()
		}
	})
	return nodes
}

// sink is the cheapest client socket there can be.
type sink struct {
	id  string
	got *atomic.Int64
}

func (s *sink) ID() string                                     { return s.id }
func (s *sink) Identity() transport.Identity                   { return transport.Identity{} }
func (s *sink) Transport() string                              { return "sink" }
func (s *sink) Context() context.Context                       { return context.Background() }
func (s *sink) Offer(m *wire.Message, to string) bool          { return s.Send(m, to) == nil }
func (s *sink) Ready(func()) bool                              { return true }
func (s *sink) Close(wire.CloseCode, string, transport.Reason) {}
func (s *sink) Send(m *wire.Message, _ string) error {
	if m.Event == "said" {
		s.got.Add(1)
	}
	return nil
}

// join has clients of a node join a topic.
func (n *node) join(topic string, clients int, got *atomic.Int64) (left []transport.Receiver) {
	for range clients {
		r := n.hub.Accept(&sink{fmt.Sprint("client-", serial.Add(1)), got})
		r.Receive(wire.Frame{JoinRef: wire.RefOf("1"), Ref: wire.RefOf("1"), Topic: topic, Event: wire.EventJoin, Payload: []byte("{}")})
		left = append(left, r)
	}
	return left
}

var serial atomic.Int64

// text makes a payload of 128 bytes, as the speed budget has it.
var text = map[string]string{"text": strings.Repeat("x", 128-len(`{"text":""}`))}

// spent is the processor time of this process: that of the nodes, and not of an engine.
func spent() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkNodes is a message that is retained and sent to ten members on each node, in one
// of 100 topics, with 16 publishers on each node. µs-cpu is the processor time of all nodes
// for a message; the engine has its own.
func BenchmarkNodes(b *testing.B) {
	const topics, members, publishers = 100, 10, 16
	for _, e := range engines {
		for _, n := range []int{1, 2, 3} {
			b.Run(fmt.Sprintf("%s/%d", e.name, n), func(b *testing.B) {
				nodes := openNodes(b, n, e.open(b))
				got := new(atomic.Int64)
				for _, one := range nodes {
					for k := range topics {
						one.join(fmt.Sprint(k), members, got)
					}
					if err := one.hub.Wait(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				var said atomic.Int64
				before := spent()
				b.ResetTimer()
				var wg sync.WaitGroup
				for _, one := range nodes {
					for range publishers {
						wg.Go(func() {
							for i := said.Add(1); i <= int64(b.N); i = said.Add(1) {
								if err := one.hub.Broadcast(b.Context(), fmt.Sprint(i%topics), "said", text); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
				}
				wg.Wait()
				for want := int64(b.N) * members * int64(n); got.Load() < want && !b.Failed(); {
					time.Sleep(time.Millisecond)
				}
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
				b.ReportMetric(float64((spent()-before).Microseconds())/float64(b.N), "µs-cpu")
			})
		}
	}
}

// BenchmarkUnheard is a message in one of 100,000 topics in which nobody is.
func BenchmarkUnheard(b *testing.B) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			one := openNodes(b, 1, e.open(b))[0]
			var said atomic.Int64
			before := spent()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for i := said.Add(1); i <= int64(b.N); i = said.Add(1) {
						if err := one.hub.Broadcast(b.Context(), fmt.Sprint("topic-", i%100_000), "said", text); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64((spent()-before).Microseconds())/float64(b.N), "µs-cpu")
		})
	}
}
