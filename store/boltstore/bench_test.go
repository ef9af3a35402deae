package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
)

// The yardstick in each run: bbolt as one would use it without thinking, one
// Update per message. Other load on the machine weighs on both alike.

var (
	benchKeep    = store.Retention{Keep: 10_000_000, Age: 24 * time.Hour}
	benchPayload = make([]byte, 128)
)

// scatter is prime: topics that are written to at one time are not neighbours in the file.
const scatter = 2_654_435_761

// BenchmarkAppend reports appends per second, the worst of them, and the bytes
// that were written to the disk for each.
func BenchmarkAppend(b *testing.B) {
	b.Run("bare-update", benchBare)
	for _, keep := range []store.Retention{benchKeep, {Keep: 100}} {
		for _, c := range []struct{ topics, writers, procs int }{
			{1, 1, 0}, {1, 1, 1}, {1, 64, 0}, {1, 64, 1}, {1000, 64, 0}, {1000, 64, 1}, {20_000, 64, 0}, {20_000, 64, 1}, {20_000, 512, 0},
		} {
			b.Run(fmt.Sprintf("topics=%d/writers=%d/keep=%d/procs=%d", c.topics, c.writers, keep.Keep, c.procs), func(b *testing.B) {
				if c.procs > 0 {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(c.procs))
				}
				benchAppend(b, c.topics, c.writers, keep)
			})
		}
	}
}

func benchBare(b *testing.B) {
	update := bareUpdate(b)
	for i := 0; b.Loop(); i++ {
		update(0, i)
	}
	rate(b)
}

// bareUpdate returns what commits one message with bbolt alone.
func bareUpdate(b *testing.B) func(w, i int) {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return func(_, i int) {
		if err := db.Update(func(tx *bolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("room"))
			if err != nil {
				return err
			}
			bucket.FillPercent = 0.95
			return bucket.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), benchPayload)
		}); err != nil {
			b.Error(err)
		}
	}
}

func benchAppend(b *testing.B, topics, writers int, keep store.Retention) {
	s := begun(b)
	names := make([]string, topics)
	for i := range names {
		names[i] = fmt.Sprint("room:", i)
	}
	write := func(n int, scatter uint64) (worst time.Duration) {
		var left, longest atomic.Int64
		left.Store(int64(n))
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for i := left.Add(-1); i >= 0; i = left.Add(-1) {
					begun := time.Now()
					if _, err := s.Append(context.Background(), names[int(uint64(i)*scatter%uint64(topics))], store.Message{Event: "said", Payload: benchPayload}, keep, nil); err != nil {
						b.Error(err)
						return
					}
					took := int64(time.Since(begun))
					for was := longest.Load(); took > was && !longest.CompareAndSwap(was, took); was = longest.Load() {
					}
				}
			})
		}
		wg.Wait()
		return time.Duration(longest.Load())
	}
	write(topics, 1) // all are known
	before, busy := written(), processorTime()
	b.ResetTimer()
	worst := write(b.N, scatter)
	b.StopTimer()
	rate(b)
	b.ReportMetric(float64(worst.Microseconds())/1000, "ms-worst")
	b.ReportMetric(float64(written()-before)/float64(b.N), "B-written/op")
	b.ReportMetric(float64((processorTime()-busy).Microseconds())/float64(b.N), "µs-CPU/op")
}

func rate(b *testing.B) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s") }

// written returns how much this process has written to files.
func written() int64 { return procNumber("/proc/self/io", "wchar: ") }

// resident returns the bytes of memory that this process has, with those of files.
func resident() int64 { return procNumber("/proc/self/status", "VmRSS:") * 1024 }

// processorTime returns how long this process has run, on Linux.
func processorTime() time.Duration {
	const tick = 10 * time.Millisecond
	text, _ := os.ReadFile("/proc/self/stat")
	_, rest, _ := bytes.Cut(text, []byte(") "))
	fields := bytes.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(string(fields[11]))
	system, _ := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * tick
}

// procNumber returns the number behind a label in a file of Linux's; 0 elsewhere.
func procNumber(path, label string) int64 {
	text, _ := os.ReadFile(path)
	_, rest, _ := bytes.Cut(text, []byte(label))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	return n
}

func topicName(i int) string { return fmt.Sprint("room:", i) }

// filled returns a closed file with n messages of each topic.
func filled(b *testing.B, topics, n int, keep store.Retention) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "filled.db")
	s, err := Open(path, Options{})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	f, err := disk.Open(path, disk.Options{})
	if err != nil {
		b.Fatal(err)
	}
	f.Unsynced()
	const batch = 10_000
	for from := 0; from < topics*n; from += batch {
		update := f.Update
		if from+batch >= topics*n {
			update = f.UpdateLast
		}
		if err := update(func(tx *bolt.Tx) error {
			p, err := tree.Begin(tx, clock()-int64(time.Hour), nil)
			if err != nil {
				return err
			}
			for i := from; i < min(from+batch, topics*n); i++ {
				if _, _, err := p.Append(topicName(i%topics), store.Message{Event: "said", Payload: benchPayload}, keep); err != nil {
					return err
				}
			}
			p.Close()
			_, err = p.End()
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

func BenchmarkRead(b *testing.B) {
	for _, kept := range []int{100, 100_000, 1_000_000} {
		s := opened(b, filled(b, 1, kept, benchKeep))
		top := read(b, s, "room:0", store.Range{Newest: true, Limit: 1}).Top
		for _, c := range []struct {
			name string
			r    store.Range
			want int
		}{
			{"newest=50", store.Range{Newest: true, Limit: 50, Bytes: 1 << 20}, 50},
			{"older=50", store.Range{Newest: true, Before: top - uint64(kept/2) + 1, Limit: 50, Bytes: 1 << 20}, 50},
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
	}
}

// openerEnv has this program open a file, append to some topics, and say how long
// the former took and how much memory it has after it and at the end.
const openerEnv = "CHIME_TEST_OPENER"

const openerTopics = 300

func opener(path string) {
	begun := time.Now()
	s, err := Open(path, Options{MaxTopics: Unbounded})
	took := time.Since(begun)
	after := resident()
	for i := 0; i < openerTopics && err == nil; i++ {
		_, err = s.Append(context.Background(), topicName(i*3001), store.Message{Payload: benchPayload}, benchKeep, nil)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if err == nil {
		err = s.Close()
	}
	fmt.Println(took.Microseconds(), after, m.HeapAlloc, err)
}

// BenchmarkOpen opens files in a process of its own: as Close leaves them, and as a kill does.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		messages, topics int
		killed           bool
	}{{1_000_000, 1, false}, {1_000_000, 1000, false}, {1_000_000, 1000, true}, {1_000_000, 1_000_000, false}, {1_000_000, 1_000_000, true}} {
		b.Run(fmt.Sprintf("messages=%d/topics=%d/killed=%t", c.messages, c.topics, c.killed), func(b *testing.B) {
			closed := filled(b, c.topics, c.messages/c.topics, benchKeep)
			size(b, closed, c.messages)
			path := filepath.Join(b.TempDir(), "opened.db")
			if c.killed {
				s, err := Open(closed, Options{})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = s.Close() }()
			}
			var took, after, heap []float64
			for b.Loop() {
				b.StopTimer()
				filetest.Copy(b, closed, path)
				onDisk(b, path) // as it is when a store is killed
				b.StartTimer()
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), openerEnv+"="+path)
				out, err := cmd.Output()
				var t, a, h float64
				if _, scanErr := fmt.Sscan(string(out), &t, &a, &h); err != nil || scanErr != nil {
					b.Fatalf("%v: %s", err, out)
				}
				took, after, heap = append(took, t/1000), append(after, a/(1<<20)), append(heap, h/(1<<20))
			}
			b.ReportMetric(slices.Min(took), "ms-open")
			b.ReportMetric(slices.Max(after), "MiB-RSS")
			b.ReportMetric(slices.Max(heap), "MiB-heap-in-use")
		})
	}
}

// onDisk has the disk keep what was written to a file.
func onDisk(b *testing.B, path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSweep tells how long a million messages take to go that aged all at
// once, and how long an append takes meanwhile at most, and one to a store that has
// nothing to sweep, by turns.
func BenchmarkSweep(b *testing.B) {
	for _, topics := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("aged=1000000/topics=%d", topics), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				path := filled(b, topics, 1_000_000/topics, store.Retention{Age: time.Nanosecond})
				b.StartTimer()
				s, idle := opened(b, path), begun(b)
				var all, others []time.Duration
				took := func(s *Store) time.Duration {
					begun := time.Now()
					say(b, s, "another", "x", benchKeep)
					return time.Since(begun)
				}
				for due := true; due; {
					all, others = append(all, took(s)), append(others, took(idle))
					if err := s.file.View(func(tx *bolt.Tx) error {
						due = tree.Due(tx) < clock()
						return nil
					}); err != nil {
						b.Fatal(err)
					}
				}
				for name, list := range map[string][]time.Duration{"": all, "-idle": others} {
					slices.Sort(list)
					b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, "ms-median-append"+name)
					b.ReportMetric(float64(list[len(list)-1].Microseconds())/1000, "ms-worst-append"+name)
				}
			}
		})
	}
}

// BenchmarkNames is 64 writers who name topics without end, where a million are known
// and a million are allowed: how many are taken in a second, how many are refused, and
// what that takes in memory.
func BenchmarkNames(b *testing.B) {
	const known, writers, each = 1_000_000, 64, 1_000
	path := filled(b, known, 1, benchKeep)
	s, err := Open(path, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var named, refused, longest atomic.Int64
	for b.Loop() {
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for range each {
					begun := time.Now()
					name := fmt.Sprintf("room:new:%d:%d", w, named.Add(1))
					if _, err := s.Append(context.Background(), name, store.Message{Payload: benchPayload}, benchKeep, nil); errors.Is(err, store.ErrFull) {
						refused.Add(1)
					} else if err != nil {
						b.Error(err)
					}
					for took, was := int64(time.Since(begun)), longest.Load(); took > was && !longest.CompareAndSwap(was, took); was = longest.Load() {
					}
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(named.Load())/b.Elapsed().Seconds(), "names/s")
	b.ReportMetric(float64(refused.Load())/float64(named.Load()), "refused")
	b.ReportMetric(float64(longest.Load())/1e6, "ms-worst")
	b.ReportMetric(float64(heap())/(1<<20), "MiB-heap-in-use")
}

// BenchmarkDay is a day's churn: each topic is given 20 times of what it keeps.
func BenchmarkDay(b *testing.B) {
	const topics, keep, rounds = 1000, 100, 20
	for b.Loop() {
		path := filled(b, topics, keep*rounds, store.Retention{Keep: keep, Age: 24 * time.Hour})
		size(b, path, topics*keep)
		b.ReportMetric(float64(filetest.Sound(b, path).Waiting), "waiting")
	}
}

func size(b *testing.B, path string, kept int) {
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "MB")
	b.ReportMetric(float64(info.Size())/float64(kept), "B/kept")
}
