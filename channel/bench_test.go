package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/transport"
)

// sink is the cheapest client socket there can be, so that a benchmark shows
// what the hub itself costs. With forms it writes what a connection would.
type sink struct {
	id    string
	got   *atomic.Int64
	forms bool

	mu  sync.Mutex // guards buf
	buf []byte
}

func (s *sink) ID() string                                     { return s.id }
func (s *sink) Identity() transport.Identity                   { return transport.Identity{} }
func (s *sink) Transport() string                              { return "sink" }
func (s *sink) Context() context.Context                       { return context.Background() }
func (s *sink) Offer(m *wire.Message, to string) bool          { return s.Send(m, to) == nil }
func (s *sink) Ready(func()) bool                              { return true }
func (s *sink) Close(wire.CloseCode, string, transport.Reason) {}

func (s *sink) Send(m *wire.Message, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forms {
		s.buf = m.AppendEvent(m.AppendWebSocket(s.buf[:0], true, to))
	}
	s.got.Add(1)
	return nil
}

// crowd is a hub with that many members of the topic "a".
func crowd(tb testing.TB, members int, forms bool, options ...Option) (*Hub, *atomic.Int64) {
	tb.Helper()
	h := NewHub(Config{Broker: local.New(store.NewMemory(store.MaxBytes(0))), Log: slog.New(slog.DiscardHandler)})
	h.Channel("{topic}", &silent{}, options...)
	got := new(atomic.Int64)
	for i := range members {
		join(tb, h, &sink{id: fmt.Sprint("client-", i), got: got, forms: forms}, "{}")
	}
	got.Store(0)
	return h, got
}

type silent struct {
	AnyoneMayJoin
	NothingOnLeave
}

func (*silent) HandleMessage(context.Context, *Socket, Message) (any, error) { return nil, nil }

func join(tb testing.TB, h *Hub, s *sink, payload string) transport.Receiver {
	r := h.Accept(s)
	r.Receive(wire.Frame{JoinRef: wire.RefOf("1"), Ref: wire.RefOf("1"), Topic: "a", Event: wire.EventJoin, Payload: []byte(payload)})
	if err := h.Wait(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return r
}

// text makes a payload of 128 bytes, as the speed budget has it.
var text = map[string]string{"text": strings.Repeat("x", 128-len(`{"text":""}`))}

func tell(tb testing.TB, h *Hub, options ...SendOption) {
	if err := h.Broadcast(tb.Context(), "a", "message_new", text, options...); err != nil {
		tb.Fatal(err)
	}
}

// What a broadcast allocates must not grow with those who get it: neither the
// queueing of it nor its bytes in any form.
func TestABroadcastIsEncodedOnce(t *testing.T) {
	for _, options := range [][]Option{nil, {History{Keep: 100}}} {
		var allocs [2]float64
		for i, members := range []int{1, 1000} {
			h, got := crowd(t, members, true, options...)
			tell(t, h)
			allocs[i] = testing.AllocsPerRun(200, func() { tell(t, h) })
			if want := int64(202 * members); got.Load() != want { // AllocsPerRun runs it once more
				t.Fatalf("%d members got %d messages, want %d", members, got.Load(), want)
			}
		}
		if !raceDetector && allocs[1] > allocs[0]+1 { // the detector allocates; .ci/run counts without it. The history grows, and with it this and that
			t.Errorf("kept %t: a broadcast to 1,000 allocates %v times, one to 1 %v times", options != nil, allocs[1], allocs[0])
		}
	}
}

// What goes to few members costs mostly memory.
func TestABroadcastAllocatesItsMessage(t *testing.T) {
	var payload any = json.RawMessage(`{"text":"hello"}`)
	for _, test := range []struct {
		name    string
		options []Option
		send    []SendOption
		want    float64
	}{
		{"ephemeral", nil, nil, 1},
		{"from", nil, []SendOption{from("client-7")}, 1},
		{"kept", []Option{History{Keep: 1000}}, nil, 1},
	} {
		h, _ := crowd(t, 1, false, test.options...)
		got := testing.AllocsPerRun(1000, func() {
			if err := h.Broadcast(t.Context(), "a", "message_new", payload, test.send...); err != nil {
				t.Fatal(err)
			}
		})
		if !raceDetector && got > test.want {
			t.Errorf("%s: a broadcast allocates %v times, want %v", test.name, got, test.want)
		}
	}
}

// BenchmarkFanOut is a broadcast until it is queued for all; ns/subscriber is
// what each of them costs the hub. BenchmarkSend of package transport has the
// queue itself.
func BenchmarkFanOut(b *testing.B) {
	for _, kind := range []struct {
		name    string
		options []Option
		send    []SendOption
	}{
		{"kept", []Option{History{Keep: 1000}}, nil},
		{"ephemeral", nil, nil},
		{"from", nil, []SendOption{from("client-7")}},
	} {
		for _, members := range []int{1, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, members), func(b *testing.B) {
				h, _ := crowd(b, members, false, kind.options...)
				b.ReportAllocs()
				for b.Loop() {
					tell(b, h, kind.send...)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(members), "ns/subscriber")
			})
		}
	}
}

// BenchmarkBroadcastBesideABusyRoom is a broadcast into an empty room beside one
// of 4,000 in which 100 are broadcast a second. The percentiles are what a busy
// room costs others: with a store that writes to a disk no more than what it
// costs to write.
func BenchmarkBroadcastBesideABusyRoom(b *testing.B) {
	for _, kept := range stores(b) {
		for _, busy := range []int{0, 4000} {
			b.Run(fmt.Sprintf("%s/%d", kept.name, busy), func(b *testing.B) {
				h := NewHub(Config{Broker: local.New(kept.open()), Log: slog.New(slog.DiscardHandler)})
				h.Channel("{topic}", &silent{}, History{Keep: 1000})
				got := new(atomic.Int64)
				for i := range busy {
					join(b, h, &sink{id: fmt.Sprint("client-", i), got: got, forms: true}, "{}")
				}
				ctx, cancel := context.WithCancel(b.Context())
				var publishers sync.WaitGroup
				if busy > 0 {
					publishers.Go(func() {
						tick := time.NewTicker(10 * time.Millisecond)
						defer tick.Stop()
						for ctx.Err() == nil {
							publishers.Go(func() { tell(b, h) })
							<-tick.C
						}
					})
				}
				var took []time.Duration
				for b.Loop() {
					began := time.Now()
					if err := h.Broadcast(b.Context(), "empty", "message_new", text); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
				}
				cancel()
				publishers.Wait()
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "µs-median")
				b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "µs-p99")
			})
		}
	}
}

// BenchmarkPublishers is 64 goroutines that broadcast into as many topics as the
// name says, of ten members each; ns/op is that of a message.
func BenchmarkPublishers(b *testing.B) {
	for _, kept := range stores(b) {
		for _, topics := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/%d", kept.name, topics), func(b *testing.B) {
				h := NewHub(Config{Broker: local.New(kept.open()), Log: slog.New(slog.DiscardHandler)})
				h.Channel("{topic}", &silent{}, History{Keep: 1000})
				got := new(atomic.Int64)
				for i := range topics {
					for range 10 {
						r := h.Accept(&sink{id: fmt.Sprint("client-", i), got: got})
						r.Receive(wire.Frame{JoinRef: wire.RefOf("1"), Ref: wire.RefOf("1"), Topic: fmt.Sprint(i), Event: wire.EventJoin, Payload: []byte("{}")})
					}
				}
				if err := h.Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
				var next atomic.Int64
				b.SetParallelism(64 / runtime.GOMAXPROCS(0))
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						topic := fmt.Sprint(next.Add(1) % int64(topics))
						if err := h.Broadcast(b.Context(), topic, "message_new", text); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

// stores are those that a benchmark compares.
func stores(b *testing.B) []storeOf {
	return []storeOf{
		{"memory", func() store.Store { return store.NewMemory(store.MaxBytes(0)) }},
		{"bolt", func() store.Store {
			s, err := boltstore.Open(filepath.Join(b.TempDir(), "chime.db"), boltstore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			return s
		}},
	}
}

type storeOf struct {
	name string
	open func() store.Store
}

// BenchmarkEncodeOnce is a broadcast with its bytes copied for every member, as
// for a WebSocket and a stream. Allocations stay those of one member.
func BenchmarkEncodeOnce(b *testing.B) {
	for _, members := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			h, _ := crowd(b, members, true)
			tell(b, h) // so that all have their buffers
			b.ReportAllocs()
			for b.Loop() {
				tell(b, h)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(members), "ns/subscriber")
		})
	}
}

// BenchmarkJoin is a join and its leave, with a replay of 50 out of 100,000.
// The first join of a topic reads the store, later ones find the tail.
func BenchmarkJoin(b *testing.B) {
	for _, test := range []struct {
		name    string
		members int
		payload string
		since   uint64
	}{
		{"first", 0, "{}", 0},
		{"another", 1, "{}", 0},
		{"another since", 1, "", 99_950},
		{"another, 450 since", 1, "", 99_550},
	} {
		b.Run(test.name, func(b *testing.B) {
			h, got := crowd(b, test.members, false, History{Keep: 100_000, Replay: 50})
			for range 100_000 {
				tell(b, h)
			}
			payload := test.payload
			if test.since > 0 {
				payload = fmt.Sprintf(`{"@since":{"epoch":%q,"offset":%d}}`, h.history.Epoch(), test.since)
			}
			got.Store(0)
			b.ReportAllocs()
			for b.Loop() {
				r := join(b, h, &sink{id: "joiner", got: got}, payload)
				r.Closed(Closed)
				if err := h.Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(got.Load())/float64(b.N)-1, "replayed/op")
		})
	}
}

// BenchmarkLookBack is a request of a member for 50 older messages out of 100,000, until
// the page is queued, and what its reply allocates.
func BenchmarkLookBack(b *testing.B) {
	h, got := crowd(b, 0, false, History{Keep: 100_000})
	for range 100_000 {
		tell(b, h)
	}
	r := join(b, h, &sink{id: "reader", got: got}, "{}")
	got.Store(0)
	f := wire.Frame{JoinRef: wire.RefOf("1"), Ref: wire.RefOf("2"), Topic: "a", Event: wire.EventHistory}
	f.Payload = fmt.Appendf(nil, `{"before":{"epoch":%q,"offset":50000},"limit":50}`, h.history.Epoch())
	b.ReportAllocs()
	for b.Loop() {
		r.Receive(f)
		if err := h.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	if got.Load() != int64(b.N) {
		b.Fatalf("got %d replies to %d requests", got.Load(), b.N)
	}
}
