//go:build unix

// Package centrifuge measures centrifuge over Redis with the load of BenchmarkNodes. It is a
// module of its own, so that nobody who imports chime downloads it.
package centrifuge

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/go-chime/chime/internal/redistest"
)

const topics, members, publishers = 100, 10, 16

var text = []byte(`{"text":"` + strings.Repeat("x", 128-len(`{"text":""}`)) + `"}`)

// sink is the cheapest transport there can be.
type sink struct{ got *atomic.Int64 }

func (sink) Name() string                                { return "sink" }
func (sink) AcceptProtocol() string                      { return "" }
func (sink) Protocol() centrifuge.ProtocolType           { return centrifuge.ProtocolTypeJSON }
func (sink) ProtocolVersion() centrifuge.ProtocolVersion { return centrifuge.ProtocolVersion2 }
func (sink) Unidirectional() bool                        { return true }
func (sink) Emulation() bool                             { return false }
func (sink) DisabledPushFlags() uint64 {
	return centrifuge.PushFlagConnect | centrifuge.PushFlagDisconnect | centrifuge.PushFlagSubscribe
}
func (sink) PingPongConfig() centrifuge.PingPongConfig {
	return centrifuge.PingPongConfig{PingInterval: time.Hour, PongTimeout: time.Minute}
}
func (sink) Close(centrifuge.Disconnect) error { return nil }
func (s sink) Write([]byte) error {
	s.got.Add(1)
	return nil
}
func (s sink) WriteMany(all ...[]byte) error {
	s.got.Add(int64(len(all)))
	return nil
}

func openNode(b *testing.B, address string, got *atomic.Int64) *centrifuge.Node {
	n, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		b.Fatal(err)
	}
	shard, err := centrifuge.NewRedisShard(n, centrifuge.RedisShardConfig{Address: address})
	if err != nil {
		b.Fatal(err)
	}
	broker, err := centrifuge.NewRedisBroker(n, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
	if err != nil {
		b.Fatal(err)
	}
	n.SetBroker(broker)
	n.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{},
			Subscriptions: map[string]centrifuge.SubscribeOptions{string(e.Data): {EnableRecovery: true, EnablePositioning: true}},
		}, nil
	})
	if err := n.Run(); err != nil {
		b.Fatal(err)
	}
	for k := range topics {
		for range members {
			c, closed, err := centrifuge.NewClient(context.Background(), n, sink{got})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = closed() })
			c.Connect(centrifuge.ConnectRequest{Data: fmt.Append(nil, k)})
		}
	}
	b.Cleanup(func() { _ = n.Shutdown(context.Background()) })
	return n
}

func spent() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkNodes is that of chime, by centrifuge.
func BenchmarkNodes(b *testing.B) {
	for _, n := range []int{1, 2, 3} {
		b.Run(fmt.Sprintf("redis/%d", n), func(b *testing.B) {
			address, got := redistest.Start(b, "--appendfsync", "everysec").Address(), new(atomic.Int64)
			var nodes []*centrifuge.Node
			for range n {
				nodes = append(nodes, openNode(b, address, got))
			}
			got.Store(0)
			var said atomic.Int64
			before := spent()
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, one := range nodes {
				for range publishers {
					wg.Go(func() {
						for i := said.Add(1); i <= int64(b.N); i = said.Add(1) {
							if _, err := one.Publish(fmt.Sprint(i%topics), text, centrifuge.WithHistory(100, time.Hour)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
			}
			wg.Wait()
			want := int64(b.N) * members * int64(n)
			for end := time.Now().Add(10 * time.Second); got.Load() < want && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			if got.Load() < want {
				b.Errorf("%d deliveries, want %d", got.Load(), want)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64((spent()-before).Microseconds())/float64(b.N), "µs-cpu")
		})
	}
}
