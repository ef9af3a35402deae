//go:build unix

package scale

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// counting counts how often a history is read.
type counting struct {
	broker.Broker
	reads *atomic.Int64
}

func (c counting) History() broker.History { return countedHistory{c.Broker.History(), c.reads} }

type countedHistory struct {
	broker.History
	reads *atomic.Int64
}

func (h countedHistory) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	h.reads.Add(1)
	return h.History.Read(ctx, topic, r)
}

// BenchmarkStorm is 1,000 clients on each of three nodes that join one topic, or 100 of them,
// with a history of 100 at once, and leave. The histories are read for the nodes, not for the
// clients.
func BenchmarkStorm(b *testing.B) {
	for _, e := range engines {
		for _, topics := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/%d", e.name, topics), func(b *testing.B) { storm(b, topics, e.open(b)) })
		}
	}
}

func storm(b *testing.B, topics int, open func() broker.Broker) {
	const clients = 1000
	reads := new(atomic.Int64)
	nodes := openNodes(b, 3, func() broker.Broker { return counting{open(), reads} })
	for i := range topics {
		for range 100 {
			if err := nodes[0].hub.Broadcast(b.Context(), fmt.Sprint("topic-", i), "said", text); err != nil {
				b.Fatal(err)
			}
		}
	}
	got := new(atomic.Int64)
	for b.Loop() {
		var all []transport.Receiver
		for _, one := range nodes {
			for i := range topics {
				all = append(all, one.join(fmt.Sprint("topic-", i), clients/topics, got)...)
			}
		}
		for _, one := range nodes {
			one.wait(b)
		}
		for _, r := range all {
			r.Closed(transport.Closed)
		}
		for _, one := range nodes {
			one.wait(b)
		}
	}
	b.ReportMetric(float64(reads.Load())/float64(b.N*topics), "reads/topic")
	if most := int64(2 * b.N * topics * len(nodes)); reads.Load() > most {
		b.Errorf("%d reads for %d storms into %d topics on %d nodes, want no more than %d", reads.Load(), b.N, topics, len(nodes), most)
	}
}
