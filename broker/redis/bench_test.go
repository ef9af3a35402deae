package redis

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// BenchmarkPublish publishes 200 bytes in 100 topics that keep 100 messages, with an
// append-only file that nobody waits for.
func BenchmarkPublish(b *testing.B) {
	e := redistest.Start(b, "--appendfsync", "no")
	for _, c := range []struct {
		name string
		make func(p *broker.Publication, n int64)
		keep *store.Retention
	}{
		{"retained", func(*broker.Publication, int64) {}, &store.Retention{Keep: 100}},
		{"aging", func(*broker.Publication, int64) {}, &store.Retention{Keep: 100, Age: 3600e9}},
		{"keyed", func(p *broker.Publication, n int64) { p.Key = fmt.Sprint(n) }, &store.Retention{Keep: 100}},
		{"ephemeral", func(*broker.Publication, int64) {}, nil},
	} {
		for _, publishers := range []int{1, 64} {
			b.Run(fmt.Sprint(c.name, "/", publishers), func(b *testing.B) {
				br, _ := began(b, e.URL(), Options{})
				var n atomic.Int64
				payload := string(make([]byte, 200))
				publish := func() {
					i := n.Add(1)
					p := say(fmt.Sprint("topic ", i%100), payload)
					c.make(&p, i)
					if _, err := br.Publish(b.Context(), p, c.keep); err != nil {
						b.Error(err)
					}
				}
				b.ReportAllocs()
				before := busy(b, e)
				if publishers == 1 {
					for b.Loop() {
						publish()
					}
				} else {
					b.SetParallelism(publishers / 2)
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							publish()
						}
					})
				}
				b.ReportMetric(float64((busy(b, e)-before).Nanoseconds())/float64(n.Load()), "engine-ns/op")
			})
		}
	}
}

// busy is how long the engine has used a processor.
func busy(b *testing.B, e *redistest.Server) (all time.Duration) {
	for _, name := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		seconds, err := strconv.ParseFloat(e.Info(b, "cpu", name), 64)
		if err != nil {
			b.Fatal(err)
		}
		all += time.Duration(seconds * float64(time.Second))
	}
	return all
}

// BenchmarkJoins reads what a join reads, of 100 topics with 100 messages each: 64 of the
// newest, by 64 at one time.
func BenchmarkJoins(b *testing.B) {
	e := redistest.Start(b, "--appendfsync", "no")
	br, _ := began(b, e.URL(), Options{})
	payload := string(make([]byte, 200))
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < 100; i += 64 {
				for range 100 {
					publish(b, br, fmt.Sprint("topic ", i), payload)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range []struct {
		name string
		r    store.Range
	}{
		{"newest", store.Range{Newest: true, Limit: 64, Bytes: 1 << 20}},
		{"top", store.Range{After: math.MaxUint64}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var n atomic.Int64
			before := busy(b, e)
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := br.History().Read(b.Context(), fmt.Sprint("topic ", n.Add(1)%100), c.r); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64((busy(b, e)-before).Nanoseconds())/float64(n.Load()), "engine-ns/op")
		})
	}
	b.Run("tops", func(b *testing.B) {
		var topics []string
		for i := range 100 {
			topics = append(topics, fmt.Sprint("topic ", i))
		}
		for b.Loop() {
			if _, err := br.History().(broker.Tops).Tops(b.Context(), topics); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("subscribe", func(b *testing.B) {
		var n atomic.Int64
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := br.Subscribe(b.Context(), fmt.Sprint("heard ", n.Add(1))); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
