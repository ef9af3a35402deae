// Package brokertest is the suite that every [broker.Broker] passes.
//
//	func TestBroker(t *testing.T) {
//		brokertest.Run(t, func(t *testing.T) broker.Broker {
//			return local.New(store.NewMemory())
//		})
//	}
//
// Run holds a broker to what the interface says on one node, [RunCluster] to what it says of
// several, [RunModel] to what a store in memory does, at random, and [RunFaults] to its promises while the
// engine fails, which a broker's own tests have it do. Run them with -race. An [Engine] has nodes without one, for tests of what is built on them.
package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// Run checks the brokers that open returns: new, with a history that is empty,
// not started, shared with nobody. Open sees to their end with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) broker.Broker) {
	for _, b := range []struct {
		name string
		run  func(t *testing.T, b broker.Broker, s *sink)
	}{
		{"what is published is announced", roundTrip},
		{"what is retained is in the history when it is announced", retained},
		{"what is ephemeral is not", ephemeral},
		{"topics are apart", apart},
		{"retention is that of the publication", retention},
		{"what came before an offset can be read", older},
		{"a context that is done begins nothing", cancelled},
		{"racing publishers are announced in the order of their offsets", race},
		{"one publisher's order is kept, whether retained or not", order},
		{"what has a key is published once", once},
		{"what is erased is not in the history, and the sink is told", erase},
		{"what erases is announced behind what it erases", tombstone},
		{"nothing is announced after it was forgotten", forget},
		{"subscribing is a barrier", barrier},
		{"a topic can be subscribed again", again},
	} {
		t.Run(b.name, func(t *testing.T) {
			s := &sink{announced: map[string][]broker.Publication{}, erased: map[string][]erasure{}}
			s.came.L = &s.mu
			br := open(t)
			s.history = br.History()
			br.Start(s)
			for _, topic := range topics {
				subscribe(t, br, topic)
			}
			b.run(t, br, s)
			if err := br.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// topics are subscribed from the start.
var topics = []string{"a", "b", "0", "1", "2"}

func subscribe(t *testing.T, b broker.Broker, topic string) {
	t.Helper()
	if err := b.Subscribe(t.Context(), topic); err != nil {
		t.Fatalf("subscribe to %q: %v", topic, err)
	}
}

// sink notes what is announced. It appends outside of its lock, so that the
// race detector sees two announcements of one topic at a time.
type sink struct {
	history broker.History
	yields  int // how often an announcement lets other goroutines run

	mu        sync.Mutex // guards the maps, not the slices in them
	came      sync.Cond
	announced map[string][]broker.Publication
	erased    map[string][]erasure
}

// erasure is what a sink was told of, after so many announcements of its topic.
type erasure struct {
	at    store.Position
	after int
}

func (s *sink) Published(p broker.Publication) {
	list := append(s.of(p.Topic), p)
	for range s.yields {
		runtime.Gosched()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announced[p.Topic] = list
	s.came.Broadcast()
}

func (s *sink) Erased(topic string, at store.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erased[topic] = append(s.erased[topic], erasure{at, len(s.announced[topic])})
	s.came.Broadcast()
}

// Lost implements broker.Sink. A broker that nothing happens to loses nothing
// here: what should have been announced is missed by who waits for it.
func (s *sink) Lost(string) {}

func (s *sink) of(topic string) []broker.Publication {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.announced[topic]
}

// patience is how long an announcement may take.
const patience = 10 * time.Second

// wait returns what was announced when that is n or more, or what there is when
// that takes too long.
func (s *sink) wait(t *testing.T, topic string, n int) []broker.Publication {
	t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.came.Broadcast()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.announced[topic]) < n {
		if late {
			t.Fatalf("%d messages of %q were announced in %v, want %d", len(s.announced[topic]), topic, patience, n)
		}
		s.came.Wait()
	}
	return s.announced[topic]
}

var everything = &store.Retention{}

func publish(t *testing.T, b broker.Broker, p broker.Publication, keep *store.Retention) store.Position {
	t.Helper()
	at, err := b.Publish(t.Context(), p, keep)
	if err != nil {
		t.Errorf("publish to %q: %v", p.Topic, err)
	}
	return at
}

func text(topic, s string) broker.Publication {
	return broker.Publication{Topic: topic, Message: store.Message{Event: "said", Payload: []byte(s)}}
}

func read(t *testing.T, s broker.History, topic string, r store.Range) store.Page {
	t.Helper()
	p, err := s.Read(t.Context(), topic, r)
	if err != nil {
		t.Fatalf("read %q: %v", topic, err)
	}
	return p
}

func roundTrip(t *testing.T, b broker.Broker, s *sink) {
	sent := text("a", "\x00\xff")
	sent.From, sent.Event, sent.Binary = "somebody", "Ereignis", true
	for _, keep := range []*store.Retention{everything, nil} {
		n := len(s.of("a"))
		publish(t, b, sent, keep)
		got := s.wait(t, "a", n+1)[n]
		if got.From != sent.From || got.Event != sent.Event || !got.Binary || !bytes.Equal(got.Payload, sent.Payload) {
			t.Errorf("retained %t: got %+v, want %+v", keep != nil, got, sent)
		}
	}
}

func retained(t *testing.T, b broker.Broker, s *sink) {
	top := uint64(0)
	for i := range 5 {
		at := publish(t, b, text("a", fmt.Sprint(i)), everything)
		got := s.wait(t, "a", i+1)[i]
		if got.Offset <= top || got.Prev != top || got.At.IsZero() {
			t.Errorf("announced at %d, behind %d, time %v, want behind %d and a time", got.Offset, got.Prev, got.At, top)
		}
		if want := (store.Position{Epoch: s.history.Epoch(), Offset: got.Offset}); at != want {
			t.Errorf("position: got %v, want %v", at, want)
		}
		page := read(t, b.History(), "a", store.Range{After: top})
		if len(page.Messages) != 1 || page.Messages[0].Offset != got.Offset || string(page.Messages[0].Payload) != fmt.Sprint(i) || !page.Complete {
			t.Errorf("history after %d: got %+v, want what was announced", top, page)
		}
		top = got.Offset
	}
}

func ephemeral(t *testing.T, b broker.Broker, s *sink) {
	first := publish(t, b, text("a", "retained"), everything)
	if at := publish(t, b, text("a", "ephemeral"), nil); at != (store.Position{}) {
		t.Errorf("position of what is ephemeral: got %v, want none", at)
	}
	if got := s.wait(t, "a", 2)[1]; got.Offset != 0 || got.Prev != 0 {
		t.Errorf("what is ephemeral was announced at %d behind %d, want 0 and 0", got.Offset, got.Prev)
	}
	publish(t, b, text("a", "retained"), everything)
	if got := s.wait(t, "a", 3)[2]; got.Prev != first.Offset {
		t.Errorf("retained after what is ephemeral: behind %d, want %d", got.Prev, first.Offset)
	}
	publish(t, b, text("b", "ephemeral"), nil)
	for topic, want := range map[string]int{"a": 2, "b": 0} {
		if page := read(t, b.History(), topic, store.Range{}); len(page.Messages) != want {
			t.Errorf("history of %s: got %d messages, want %d", topic, len(page.Messages), want)
		}
	}
}

func apart(t *testing.T, b broker.Broker, s *sink) {
	publish(t, b, text("a", "1"), everything)
	publish(t, b, text("b", "2"), everything)
	publish(t, b, text("a", "3"), nil)
	if a, b := s.wait(t, "a", 2), s.wait(t, "b", 1); len(a) != 2 || len(b) != 1 || b[0].Prev != 0 {
		t.Errorf("got %+v and %+v, want two announcements for a, and one for b that has none before it", a, b)
	}
}

func retention(t *testing.T, b broker.Broker, _ *sink) {
	for i := range 5 {
		publish(t, b, text("a", fmt.Sprint(i)), &store.Retention{Keep: 2})
	}
	if page := read(t, b.History(), "a", store.Range{}); len(page.Messages) != 2 || page.Complete {
		t.Errorf("got %d messages, complete %t, want the newest 2 of 5", len(page.Messages), page.Complete)
	}
}

func older(t *testing.T, b broker.Broker, s *sink) {
	for i := range 5 {
		publish(t, b, text("a", fmt.Sprint(i)), &store.Retention{Keep: 4})
		publish(t, b, text("b", "between"), everything)
	}
	said := s.wait(t, "a", 5)
	for _, c := range []struct {
		before   uint64
		from, to int
		more     bool
	}{{0, 3, 5, true}, {said[3].Offset, 1, 3, false}, {said[1].Offset, 1, 1, false}} {
		page := read(t, b.History(), "a", store.Range{Newest: true, Before: c.before, Limit: 2})
		var got, want []uint64
		for _, m := range page.Messages {
			got = append(got, m.Offset)
		}
		for _, p := range said[c.from:c.to] {
			want = append(want, p.Offset)
		}
		if !slices.Equal(got, want) || page.More != c.more || page.Complete {
			t.Errorf("before %d: got %v, more %t, complete %t, want %v, more %t, and not complete", c.before, got, page.More, page.Complete, want, c.more)
		}
	}
}

func cancelled(t *testing.T, b broker.Broker, s *sink) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, keep := range []*store.Retention{everything, nil} {
		if _, err := b.Publish(ctx, text("a", "x"), keep); !errors.Is(err, context.Canceled) {
			t.Errorf("retained %t: got error %v, want %v", keep != nil, err, context.Canceled)
		}
	}
	if n := len(s.of("a")); n != 0 {
		t.Errorf("announced %d times, want never", n)
	}
	if page := read(t, b.History(), "a", store.Range{}); len(page.Messages) != 0 {
		t.Errorf("retained %d messages, want none", len(page.Messages))
	}
}

func race(t *testing.T, b broker.Broker, s *sink) {
	const publishers, topics, each = 8, 3, 50 // the topics are "0" to "2"
	var wg sync.WaitGroup
	for w := range publishers {
		wg.Go(func() {
			for i := range each {
				for k := range topics {
					publish(t, b, text(fmt.Sprint(k), fmt.Sprint(w, i)), everything)
				}
			}
		})
	}
	wg.Wait()
	for k := range topics {
		top, said := uint64(0), map[string]bool{}
		for _, p := range s.wait(t, fmt.Sprint(k), publishers*each) {
			if p.Offset <= top || p.Prev != top {
				t.Fatalf("topic %d: announced %d behind %d after %d", k, p.Offset, p.Prev, top)
			}
			top, said[string(p.Payload)] = p.Offset, true
		}
		if len(said) != publishers*each {
			t.Errorf("topic %d: announced %d different messages, want %d", k, len(said), publishers*each)
		}
		page := read(t, b.History(), fmt.Sprint(k), store.Range{})
		for i, m := range page.Messages {
			if want := s.of(fmt.Sprint(k))[i]; m.Offset != want.Offset || !bytes.Equal(m.Payload, want.Payload) {
				t.Fatalf("topic %d: message %d of the history is at %d, announced was %d", k, i, m.Offset, want.Offset)
			}
		}
	}
}

func order(t *testing.T, b broker.Broker, s *sink) {
	const n = 100
	for i := range n {
		keep := everything
		if i%3 == 0 {
			keep = nil
		}
		publish(t, b, text("a", fmt.Sprint(i)), keep)
	}
	for i, p := range s.wait(t, "a", n) {
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("announcement %d: got %s", i, p.Payload)
		}
	}
}

func erase(t *testing.T, b broker.Broker, s *sink) {
	var offsets []uint64
	for i := range 5 {
		offsets = append(offsets, publish(t, b, text("a", fmt.Sprint(i)), everything).Offset)
	}
	if err := b.Erase(t.Context(), "a", offsets[2]); err != nil {
		t.Fatal(err)
	}
	if err := b.Erase(t.Context(), "a", offsets[2]); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("erasing twice: got error %v, want %v", err, store.ErrNotFound)
	}
	if page := read(t, b.History(), "a", store.Range{}); len(page.Messages) != 4 {
		t.Errorf("history without one of 5: got %d messages", len(page.Messages))
	}
	if err := b.Erase(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	if page := read(t, b.History(), "a", store.Range{}); len(page.Messages) != 0 || page.Top != offsets[4] {
		t.Errorf("history that was erased: got %d messages up to %d, want none up to %d", len(page.Messages), page.Top, offsets[4])
	}
	s.wait(t, "a", 5)
	publish(t, b, text("a", "last"), everything)
	s.wait(t, "a", 6) // the sink was told before this
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := s.history.Epoch()
	if want := []erasure{{store.Position{Epoch: epoch, Offset: offsets[2]}, 5}, {store.Position{Epoch: epoch}, 5}}; !slices.Equal(s.erased["a"], want) {
		t.Errorf("the sink was told of %v, want %v", s.erased["a"], want)
	}
}

// forget has all of a topic erased while it is published in: what is announced after
// the erasure is in the history, or a join would be sent what was to be forgotten. A
// broker for which publishing, or erasing and telling of it, are two steps fails here.
func forget(t *testing.T, b broker.Broker, s *sink) {
	const rounds, publishers, each = 50, 4, 5
	s.yields = 10
	announced := 0
	for range rounds {
		var wg sync.WaitGroup
		for w := range publishers {
			wg.Go(func() {
				for i := range each {
					if w == 0 && i == each/2 { // while the others publish
						if err := b.Erase(t.Context(), "a", 0); err != nil {
							t.Error(err)
						}
					}
					publish(t, b, text("a", fmt.Sprint(w, i)), everything)
				}
			})
		}
		wg.Wait()
		announced += publishers * each
		list := s.wait(t, "a", announced)
		s.mu.Lock()
		last := s.erased["a"][len(s.erased["a"])-1]
		s.mu.Unlock()
		kept := map[uint64]bool{}
		for _, m := range read(t, b.History(), "a", store.Range{}).Messages {
			kept[m.Offset] = true
		}
		for _, p := range list[last.after:] {
			if !kept[p.Offset] {
				t.Fatalf("%d was announced after all was erased, and is not in the history", p.Offset)
			}
		}
	}
}

// barrier subscribes to topics while something is published there: each message
// is announced, or in the history that is read after Subscribe.
func barrier(t *testing.T, b broker.Broker, s *sink) {
	for round := range 50 {
		topic := fmt.Sprint("barrier:", round)
		var wg sync.WaitGroup
		const each = 5
		for w := range 4 {
			wg.Go(func() {
				for i := range each {
					publish(t, b, text(topic, fmt.Sprint(w, i)), everything)
				}
			})
		}
		subscribe(t, b, topic)
		page := read(t, b.History(), topic, store.Range{})
		wg.Wait()
		last := publish(t, b, text(topic, "last"), everything)
		list := s.wait(t, topic, 1)
		for n := 1; list[len(list)-1].Offset < last.Offset; n++ {
			list = s.wait(t, topic, n)
		}
		seen := map[uint64]bool{}
		for _, m := range page.Messages {
			seen[m.Offset] = true
		}
		for _, p := range list {
			seen[p.Offset] = true
		}
		if want := 4*each + 1; len(seen) != want {
			t.Fatalf("round %d: %d messages were read or announced, want %d", round, len(seen), want)
		}
	}
}

func again(t *testing.T, b broker.Broker, s *sink) {
	for i := range 3 {
		subscribe(t, b, "again")
		publish(t, b, text("again", "x"), everything)
		s.wait(t, "again", i+1)
		b.Unsubscribe("again")
	}
}
