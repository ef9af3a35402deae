//go:build unix

package scale

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/transport"
)

// BenchmarkTopics is a client in each of 100,000 topics, on one node: how long they take to
// come, what each topic takes of the node's heap with its member, and the processor time of
// the node for each join, and for all topics in a second in which nothing is said. With -short
// there are 2,000.
func BenchmarkTopics(b *testing.B) {
	const atOnce = 1000
	topics, idle := 100_000, 20*time.Second
	if testing.Short() {
		topics, idle = 2*atOnce, 0
	}
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			one := openNodes(b, 1, e.open(b))[0]
			got := new(atomic.Int64)
			for b.Loop() {
				heap, cpu, began := heapInUse(), spent(), time.Now()
				all := make([]transport.Receiver, 0, topics)
				for i := range topics {
					all = append(all, one.join(fmt.Sprint("topic-", i), 1, got)...)
					if i%atOnce == atOnce-1 {
						one.wait(b)
					}
				}
				b.ReportMetric(float64(topics)/time.Since(began).Seconds(), "joins/s")
				b.ReportMetric(float64((spent()-cpu).Microseconds())/float64(topics), "µs-cpu/join")
				b.ReportMetric(float64(heapInUse()-heap)/float64(topics), "B/topic")
				if idle > 0 {
					cpu = spent()
					time.Sleep(idle)
					b.ReportMetric(float64((spent()-cpu).Milliseconds())/idle.Seconds(), "idle-ms-cpu/s")
				}
				for _, r := range all {
					r.Closed(transport.Closed)
				}
				one.wait(b)
			}
		})
	}
}

// wait returns when all that clients have sent is handled.
func (n *node) wait(b *testing.B) {
	if err := n.hub.Wait(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
