package boltstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
)

// BenchmarkBars holds the store to what it was built for, in turns short enough
// for other load to weigh on all alike. It reports medians of the turns' rates over
// that of one Update per message; one writer should have 0.7 of that. And it reports
// what the best turn had per second, which should be 10,000 for 64 writers.
//
// Each turn of 64 writers is followed by one of the bare disk: for every 64 messages
// as many pages as the store wrote for them, at random places, and one fdatasync. The
// rate over that is what the disk does not account for; bbolt has two fdatasyncs for each
// commit, and what is beyond a half of the disk's rate has come of larger ones. Of both
// the longest call is reported, since a disk that others use has its own.
func BenchmarkBars(b *testing.B) {
	for _, procs := range []int{0, 1} {
		b.Run(fmt.Sprintf("procs=%d", procs), func(b *testing.B) {
			if procs > 0 {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			}
			benchBars(b)
		})
	}
}

// contender is what has turns in BenchmarkBars.
type contender struct {
	name    string
	writers int
	do      func(w, i int)
	counts  []int
	rates   []float64 // calls per second, of its turns
	longest time.Duration
	bytes   int64 // written in all turns
}

func (c *contender) compete(length time.Duration) {
	before, bytes, start := total(c.counts), written(), time.Now()
	var longest atomic.Int64
	var wg sync.WaitGroup
	for w := range c.writers {
		wg.Go(func() {
			for now := time.Now(); now.Sub(start) < length; {
				c.do(w, c.counts[w])
				c.counts[w]++
				took := time.Since(now)
				now = now.Add(took)
				for was := longest.Load(); int64(took) > was && !longest.CompareAndSwap(was, int64(took)); was = longest.Load() {
				}
			}
		})
	}
	wg.Wait()
	c.rates = append(c.rates, float64(total(c.counts)-before)/time.Since(start).Seconds())
	c.bytes += written() - bytes
	c.longest = max(c.longest, time.Duration(longest.Load()))
}

// over reports the median of the turns' rates over those of another one.
func (c *contender) over(b *testing.B, other *contender, per float64) {
	ratios := make([]float64, len(c.rates))
	for i, r := range c.rates {
		ratios[i] = r / (other.rates[i] * per)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], c.name+"/"+other.name)
}

func benchBars(b *testing.B) {
	const rounds, span, writers = 30, 60 * time.Millisecond, 64
	appends := func(topics int) func(w, i int) {
		s := opened(b, filled(b, topics, 10, benchKeep))
		return func(w, i int) {
			topic := topicName(int(uint64(i*64+w) * scatter % uint64(topics)))
			if _, err := s.Append(context.Background(), topic, store.Message{Event: "said", Payload: benchPayload}, benchKeep, nil); err != nil {
				b.Error(err)
			}
		}
	}
	update := &contender{name: "update", writers: 1, do: bareUpdate(b)}
	alone := &contender{name: "1x1", writers: 1, do: appends(1)}
	all := []*contender{update, alone}
	var many, disks []*contender
	for _, topics := range []int{1, 1000, 20_000} {
		c := &contender{name: fmt.Sprintf("64x%d", topics), writers: writers, do: appends(topics)}
		disk := &contender{name: "disk", writers: 1, do: bareDisk(b, func() int {
			return int(c.bytes * writers / int64(total(c.counts)) / int64(os.Getpagesize()))
		})}
		all, many, disks = append(all, c, disk), append(many, c), append(disks, disk)
	}
	for _, c := range all {
		c.counts = make([]int, c.writers)
	}
	for b.Loop() {
		for range rounds {
			for _, c := range all {
				c.compete(span)
			}
		}
	}
	alone.over(b, update, 1)
	for i, c := range many {
		c.over(b, update, 1)
		c.over(b, disks[i], writers)
		b.ReportMetric(slices.Max(c.rates), c.name+"/s")
		b.ReportMetric(float64(c.longest.Microseconds())/1000, c.name+"-ms-longest")
		b.ReportMetric(float64(disks[i].longest.Microseconds())/1000, c.name+"/disk-ms-longest")
	}
}

// bareDisk returns what writes so many pages at random places of a file and has the
// disk keep them.
func bareDisk(b *testing.B, pages func() int) func(w, i int) {
	const size = 16 << 10 // pages
	f, err := os.Create(filepath.Join(b.TempDir(), "bare.disk"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	page := make([]byte, os.Getpagesize())
	for range size { // not only room for them: that would have to be written down by the first who uses it
		if _, err := f.Write(page); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return func(int, int) {
		for range max(pages(), 1) {
			if _, err := f.WriteAt(page, rand.Int64N(size)*int64(len(page))); err != nil {
				b.Error(err)
			}
		}
		if err := dataSync(f); err != nil {
			b.Error(err)
		}
	}
}

// dataSync is fdatasync, where there is one.
var dataSync = (*os.File).Sync

func total(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
