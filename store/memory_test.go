package store_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/storetest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s := store.NewMemory()
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
}

func ExampleMemory() {
	ctx := context.Background()
	s := store.NewMemory()
	keep := store.Retention{Keep: 2}
	for _, text := range []string{`"one"`, `"two"`, `"three"`} {
		m := store.Message{Event: "said", Payload: []byte(text)}
		if _, err := s.Append(ctx, "room:1", m, keep, func(m store.Message) {
			fmt.Printf("%s is at %d, behind %d\n", m.Payload, m.Offset, m.Prev)
		}); err != nil {
			panic(err)
		}
	}
	for _, after := range []uint64{1, 0} {
		page, err := s.Read(ctx, "room:1", store.Range{After: after})
		if err != nil {
			panic(err)
		}
		fmt.Printf("after %d: %d messages, complete: %t\n", after, len(page.Messages), page.Complete)
	}
	// Output:
	// "one" is at 1, behind 0
	// "two" is at 2, behind 1
	// "three" is at 3, behind 2
	// after 1: 2 messages, complete: true
	// after 0: 2 messages, complete: false
}

func TestMemoryIsOnlyTakenByAppends(t *testing.T) {
	s := store.NewMemory()
	for i := range 10 {
		topic := fmt.Sprint(i)
		page(t, s, topic, store.Range{})
		if err := s.Forget(t.Context(), topic); err != nil {
			t.Error(err)
		}
		_ = s.Redact(t.Context(), topic, 1) // storetest knows of its error
		_, _ = s.Append(t.Context(), topic, store.Message{Erases: store.All}, store.Retention{}, nil)
	}
	if n := store.Topics(s); n != 0 {
		t.Errorf("topics after reading, forgetting, redacting: got %d, want 0", n)
	}
}

func TestMemoryIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topics = 100
		s := store.NewMemory()
		hour := store.Retention{Age: time.Hour}
		for i := range topics {
			fill(t, s, fmt.Sprint(i), 100, hour)
		}
		fill(t, s, "forever", 100, store.Retention{})
		time.Sleep(2 * time.Hour)
		fill(t, s, "busy", topics, store.Retention{Keep: 1})
		if n := store.Room(s); n > 200 {
			t.Errorf("two hours and %d appends later: got room for %d messages, want about the 101 that are kept", topics, n)
		}
		if n := store.Topics(s); n != topics+2 {
			t.Errorf("two hours and %d appends later: got %d topics, want all %d", topics, n, topics+2)
		}

		time.Sleep(31 * 24 * time.Hour)
		fill(t, s, "busy", topics, store.Retention{Keep: 1})
		if n := store.Topics(s); n != 2 {
			t.Errorf("a month and %d appends later: got %d topics, want 2", topics, n)
		}
		if p := page(t, s, "forever", store.Range{}); len(p.Messages) != 100 || !p.Complete {
			t.Errorf("what is kept for good: got %d messages, complete %t, want 100, true", len(p.Messages), p.Complete)
		}

		fill(t, s, "forever", 1, store.Retention{Keep: 3})
		if n := store.Room(s); n > 20 {
			t.Errorf("after trimming 100 messages to 3: got room for %d", n)
		}
	})
}

func TestATopicBegunAnewVouchesForNoTimeBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		hour := store.Retention{Age: time.Hour}
		fill(t, s, "later", 1, store.Retention{Age: 60 * 24 * time.Hour})
		fill(t, s, "a", 2, hour) // offsets 2 and 3
		fill(t, s, "b", 1, hour)
		if p := page(t, s, "new", store.Range{}); !p.Complete {
			t.Error("an unknown topic, while none was dropped: got incomplete")
		}
		time.Sleep(31 * 24 * time.Hour)
		fill(t, s, "c", 10, hour) // drops a and b, whose last offset was 4
		for _, topic := range []string{"a", "new"} {
			if p := page(t, s, topic, store.Range{}); p.Complete || p.Top != 0 {
				t.Errorf("%s, unknown now: got complete %t, top %d, want false, 0", topic, p.Complete, p.Top)
			}
		}
		fill(t, s, "a", 1, hour)
		for after := range uint64(5) {
			if p, want := page(t, s, "a", store.Range{After: after}), after == 4; p.Complete != want || len(p.Messages) != 1 {
				t.Errorf("begun anew, after %d: got complete %t, %d messages, want %t, 1", after, p.Complete, len(p.Messages), want)
			}
		}
		time.Sleep(29*24*time.Hour + 12*time.Hour)
		fill(t, s, "c", 10, hour) // drops the topic whose last offset was 1
		fill(t, s, "new", 1, hour)
		if p := page(t, s, "new", store.Range{After: 3}); p.Complete {
			t.Error("after 3, when 4 was dropped first and 1 later: got complete")
		}
	})
}

// The time stands still while the goroutines race: what one of them appended
// must be there, whatever the sweeps of the others drop around it.
func TestDroppingAnIdleTopicLosesNoAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const months, writers, topics = 30, 4, 50
		s := store.NewMemory()
		for range months {
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := range topics {
						topic := fmt.Sprint((i*7 + w) % topics)
						var offset uint64
						_, err := s.Append(context.Background(), topic, store.Message{Event: "said"}, store.Retention{Age: time.Hour},
							func(m store.Message) { offset = m.Offset })
						p := page(t, s, topic, store.Range{After: offset - 1, Limit: 1})
						if err != nil || len(p.Messages) != 1 || p.Messages[0].Offset != offset {
							t.Errorf("read what was appended at %d: got %+v, %v", offset, p, err)
						}
						page(t, s, fmt.Sprint(i), store.Range{})
						if err := s.Forget(context.Background(), fmt.Sprint("other ", i)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if n := store.Topics(s); n != topics {
				t.Errorf("topics: got %d, want the %d that were appended to", n, topics)
			}
			time.Sleep(31 * 24 * time.Hour)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	payload := make([]byte, 128)
	m := store.Message{Event: "said", Payload: payload}
	keep := store.Retention{Keep: 1000, Age: 24 * time.Hour}
	for _, topics := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			s := store.NewMemory()
			names := make([]string, topics)
			for i := range names {
				names[i] = fmt.Sprint("room:", i)
				fill(b, s, names[i], 1, keep)
			}
			announced := 0
			announce := func(store.Message) { announced++ }
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := s.Append(context.Background(), names[i%topics], m, keep, announce); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		s := store.NewMemory()
		b.ReportAllocs()
		var next atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			topic := fmt.Sprint("room:", next.Add(1))
			for pb.Next() {
				if _, err := s.Append(context.Background(), topic, m, keep, nil); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkRead(b *testing.B) {
	for _, kept := range []int{100, 1_000_000} {
		s := store.NewMemory(store.MaxBytes(0))
		fill(b, s, "room", kept, store.Retention{Keep: kept, Age: 24 * time.Hour})
		top := page(b, s, "room", store.Range{Newest: true, Limit: 1}).Top
		for _, c := range []struct {
			name string
			r    store.Range
			want int
		}{
			{"newest=50", store.Range{Newest: true, Limit: 50, Bytes: 1 << 20}, 50},
			{"behind=1", store.Range{After: top - 1, Limit: 50, Bytes: 1 << 20}, 1},
		} {
			b.Run(fmt.Sprintf("%s/kept=%d", c.name, kept), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if p := page(b, s, "room", c.r); len(p.Messages) != c.want || !p.Complete {
						b.Fatalf("got %d messages, complete %t, want %d, true", len(p.Messages), p.Complete, c.want)
					}
				}
			})
		}
	}
}

// BenchmarkTopic tells what a topic costs that holds one message without a payload, and one that holds none.
func BenchmarkTopic(b *testing.B) {
	for _, forget := range []bool{false, true} {
		b.Run(fmt.Sprintf("forgotten=%t", forget), func(b *testing.B) {
			s := store.NewMemory()
			names := make([]string, b.N)
			for i := range names {
				names[i] = fmt.Sprint("room:", i)
			}
			before := heap()
			for _, name := range names {
				_, _ = s.Append(context.Background(), name, store.Message{Event: "said"}, store.Retention{}, nil)
				if forget {
					_ = s.Forget(context.Background(), name)
				}
			}
			b.ReportMetric(float64(heap()-before)/float64(b.N), "B/topic")
			runtime.KeepAlive(s)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func page(tb testing.TB, s *store.Memory, topic string, r store.Range) store.Page {
	p, err := s.Read(context.Background(), topic, r)
	if err != nil {
		tb.Error(err)
	}
	return p
}

func fill(tb testing.TB, s *store.Memory, topic string, n int, keep store.Retention) {
	tb.Helper()
	payload := make([]byte, 128)
	for range n {
		if _, err := s.Append(context.Background(), topic, store.Message{Event: "said", Payload: payload}, keep, nil); err != nil {
			tb.Fatal(err)
		}
	}
}
