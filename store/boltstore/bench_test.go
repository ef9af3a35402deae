package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// The yardstick in each run: bbolt as one would use it without thinking, one
// Update per message into a bucket per topic. Other load on the machine weighs on
// both alike.

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
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	i := uint64(0)
	for b.Loop() {
		i++
		if err := db.Update(func(tx *bolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("room"))
			if err != nil {
				return err
			}
			bucket.FillPercent = 0.95
			return bucket.Put(binary.BigEndian.AppendUint64(nil, i), benchPayload)
		}); err != nil {
			b.Fatal(err)
		}
	}
	rate(b)
}

func benchAppend(b *testing.B, topics, writers int, keep store.Retention) {
	s := begun(b, Options{})
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
					if err := s.Append(context.Background(), names[int(uint64(i)*scatter%uint64(topics))], store.Message{Event: "said", Payload: benchPayload}, keep, nil); err != nil {
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

// processorTime returns how long this process has run.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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

var _ = slices.Sort[[]int]
