package boltstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// The yardstick in each run: bbolt as one would use it without thinking, one
// Update per message into a bucket per topic. Other load on the machine weighs on
// both alike.

var benchKeep = store.Retention{Keep: 10_000_000, Age: 24 * time.Hour}

func BenchmarkAppend(b *testing.B) {
	for _, topics := range []int{1, 1000} {
		b.Run(fmt.Sprintf("bare-update/topics=%d", topics), func(b *testing.B) { benchBare(b, topics) })
		for _, writers := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("durable/topics=%d/writers=%d", topics, writers), func(b *testing.B) {
				benchAppend(b, Options{}, topics, writers)
			})
		}
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("behind/topics=%d/writers=%d", topics, writers), func(b *testing.B) {
				benchAppend(b, Options{WriteBehind: true}, topics, writers)
			})
		}
	}
}

func benchBare(b *testing.B, topics int) {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	payload := make([]byte, 128)
	i := uint64(0)
	for b.Loop() {
		i++
		if err := db.Update(func(tx *bolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists(fmt.Append(nil, i%uint64(topics)))
			if err != nil {
				return err
			}
			bucket.FillPercent = logFill
			return bucket.Put(binary.BigEndian.AppendUint64(nil, i), payload)
		}); err != nil {
			b.Fatal(err)
		}
	}
	rate(b)
}

func benchAppend(b *testing.B, o Options, topics, writers int) {
	s := begun(b, o)
	names := make([]string, topics)
	for i := range names {
		names[i] = fmt.Sprint("room:", i)
	}
	payload := make([]byte, 128)
	var mu sync.Mutex
	left := b.N
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		left--
		return left, left >= 0
	}
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				if err := s.Append(context.Background(), names[i%topics], store.Message{Event: "said", Payload: payload}, benchKeep, nil); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	rate(b)
}

func rate(b *testing.B) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s") }

// BenchmarkBars holds the store to what it was built for, in turns short enough
// for other load to weigh on all alike, and reports medians of their ratios: 64 writers
// against one Update per message (at least 8), 64 writers in 1,000 topics against
// 64 in one (at least 0.8), and one writer against one Update per message (at least 0.7).
func BenchmarkBars(b *testing.B) {
	const rounds, turn = 30, 60 * time.Millisecond
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("room")); return err }); err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 128)
	bare := func(_, i int) error {
		return db.Update(func(tx *bolt.Tx) error {
			bucket := tx.Bucket([]byte("room"))
			bucket.FillPercent = logFill
			return bucket.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), payload)
		})
	}
	appends := func(topics int) func(int, int) error {
		s := begun(b, Options{})
		return func(w, i int) error {
			topic := fmt.Sprint("room:", (i*64+w)%topics)
			return s.Append(context.Background(), topic, store.Message{Event: "said", Payload: payload}, benchKeep, nil)
		}
	}
	contenders := []struct {
		writers int
		do      func(w, i int) error
		count   []int
	}{
		{writers: 1, do: bare}, {writers: 1, do: appends(1)}, {writers: 64, do: appends(1)}, {writers: 64, do: appends(1000)},
	}
	for b.Loop() {
		ratios := [3][]float64{}
		for range rounds {
			var rates [4]float64
			for k := range contenders {
				c := &contenders[k]
				if c.count == nil {
					c.count = make([]int, c.writers)
				}
				before := total(c.count)
				start := time.Now()
				var wg sync.WaitGroup
				for w := range c.writers {
					wg.Go(func() {
						for time.Since(start) < turn {
							if err := c.do(w, c.count[w]); err != nil {
								b.Error(err)
								return
							}
							c.count[w]++
						}
					})
				}
				wg.Wait()
				rates[k] = float64(total(c.count)-before) / time.Since(start).Seconds()
			}
			for i, r := range []float64{rates[2] / rates[0], rates[3] / rates[2], rates[1] / rates[0]} {
				ratios[i] = append(ratios[i], r)
			}
		}
		for i, unit := range []string{"64/update", "1000topics/1topic", "1/update"} {
			slices.Sort(ratios[i])
			b.ReportMetric(ratios[i][rounds/2], unit)
		}
	}
}

func total(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// filled returns a store with n messages of each topic, in the file and swept.
func filled(b *testing.B, topics, n int, keep store.Retention) *Store {
	s := begun(b, Options{WriteBehind: true})
	payload := make([]byte, 128)
	for range n {
		for k := range topics {
			if err := s.Append(context.Background(), fmt.Sprint("room:", k), store.Message{Event: "said", Payload: payload}, keep, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	return s
}

func BenchmarkRead(b *testing.B) {
	for _, kept := range []int{100, 1_000_000} {
		s := filled(b, 1, kept, benchKeep)
		if err := s.Close(); err != nil { // so that nothing is in memory
			b.Fatal(err)
		}
		s = opened(b, s.path, Options{})
		top := read(b, s, "room:0", store.Range{Newest: true, Limit: 1}).Top
		for _, c := range []struct {
			name string
			r    store.Range
			want int
		}{
			{"newest=50", store.Range{Newest: true, Limit: 50, Bytes: 1 << 20}, 50},
			{"behind=1", store.Range{After: top - 1, Limit: 500, Bytes: 1 << 20}, 1},
			{"behind=50", store.Range{After: top - 50, Limit: 500, Bytes: 1 << 20}, 50},
		} {
			b.Run(fmt.Sprintf("%s/kept=%d", c.name, kept), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if p := read(b, s, "room:0", c.r); len(p.Messages) != c.want || !p.Complete {
						b.Fatalf("got %d messages, complete %t, want %d", len(p.Messages), p.Complete, c.want)
					}
				}
			})
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, topics := range []int{1, 1000} {
		b.Run(fmt.Sprintf("messages=1000000/topics=%d", topics), func(b *testing.B) {
			s := filled(b, topics, 1_000_000/topics, benchKeep)
			for b.Loop() {
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				var err error
				if s, err = Open(s.path, Options{}); err != nil {
					b.Fatal(err)
				}
			}
			size(b, s.path, 1_000_000)
			_ = s.Close()
		})
	}
}

// BenchmarkSweep tells how long a million messages take to go that aged all at
// once, and how long an append takes meanwhile at most.
func BenchmarkSweep(b *testing.B) {
	for _, topics := range []int{1, 1000} {
		b.Run(fmt.Sprintf("aged=1000000/topics=%d", topics), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := filled(b, topics, 1_000_000/topics, benchKeep)
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				s = opened(b, s.path, Options{})
				s.plan.Lock()
				for _, t := range s.order {
					t.keep.Age, t.seen.keep.Age = time.Nanosecond, time.Nanosecond
				}
				s.plan.Unlock()
				b.StartTimer()
				s.pass(clock())
				s.wake()
				worst := time.Duration(0)
				for n := 1; n > 0; {
					start := time.Now()
					say(b, s, "another", "x", benchKeep)
					worst = max(worst, time.Since(start))
					s.plan.Lock()
					if n = s.wasted; s.round != nil {
						n++
					}
					s.plan.Unlock()
				}
				b.ReportMetric(float64(worst.Microseconds())/1000, "ms-worst-append")
				_ = s.Close()
			}
		})
	}
}

// BenchmarkDay is a day's churn: each topic is given 20 times of what it keeps.
func BenchmarkDay(b *testing.B) {
	const topics, keep, turns = 1000, 100, 20
	for b.Loop() {
		s := filled(b, topics, keep*turns, store.Retention{Keep: keep, Age: 24 * time.Hour})
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		size(b, s.path, topics*keep)
		r := sound(b, s.path)
		b.ReportMetric(float64(r.Waiting), "waiting")
	}
	b.ReportMetric(float64(b.N)*topics*keep*turns/b.Elapsed().Seconds(), "appends/s")
}

func size(b *testing.B, path string, kept int) {
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "MB")
	b.ReportMetric(float64(info.Size())/float64(kept), "B/kept")
}
