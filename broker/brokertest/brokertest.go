// Package brokertest is the suite that every [broker.Broker] passes.
//
//	func TestBroker(t *testing.T) {
//		brokertest.Run(t, func(t *testing.T) broker.Broker {
//			return broker.Local(store.NewMemory())
//		})
//	}
//
// It holds a broker to what the interface says on one node; what keeps nodes
// apart and brings them together again is for a broker's own tests. Run it with
// -race.
package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

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
		{"what is published is announced before Publish returns", roundTrip},
		{"what is to be kept is in the history when it is announced", kept},
		{"what is not to be kept is not", ephemeral},
		{"topics are apart", apart},
		{"retention is that of the publication", retention},
		{"a context that is done begins nothing", cancelled},
		{"racing publishers are announced in the order of their offsets", race},
		{"one publisher's order is kept, whether kept or not", order},
	} {
		t.Run(b.name, func(t *testing.T) {
			s := &sink{announced: map[string][]broker.Publication{}}
			br := open(t)
			s.history = br.History()
			br.Start(s)
			b.run(t, br, s)
		})
	}
}

// sink notes what is announced. It appends outside of its lock, so that the
// race detector sees two announcements of one topic at a time.
type sink struct {
	history store.Store

	mu        sync.Mutex // guards the map, not the slices in it
	announced map[string][]broker.Publication
}

func (s *sink) Published(p broker.Publication) {
	list := append(s.of(p.Topic), p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announced[p.Topic] = list
}

func (s *sink) of(topic string) []broker.Publication {
	s.mu.Lock()
	defer s.mu.Unlock()
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

func read(t *testing.T, s store.Store, topic string, r store.Range) store.Page {
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
		if len(s.of("a")) != n+1 {
			t.Fatalf("kept %t: announced %d times when Publish returned, want once", keep != nil, len(s.of("a"))-n)
		}
		got := s.of("a")[n]
		if got.From != sent.From || got.Event != sent.Event || !got.Binary || !bytes.Equal(got.Payload, sent.Payload) {
			t.Errorf("kept %t: got %+v, want %+v", keep != nil, got, sent)
		}
	}
}

func kept(t *testing.T, b broker.Broker, s *sink) {
	top := uint64(0)
	for i := range 5 {
		at := publish(t, b, text("a", fmt.Sprint(i)), everything)
		got := s.of("a")[i]
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
	first := publish(t, b, text("a", "kept"), everything)
	if at := publish(t, b, text("a", "not kept"), nil); at != (store.Position{}) {
		t.Errorf("position of what is not kept: got %v, want none", at)
	}
	if got := s.of("a")[1]; got.Offset != 0 || got.Prev != 0 {
		t.Errorf("what is not kept was announced at %d behind %d, want 0 and 0", got.Offset, got.Prev)
	}
	publish(t, b, text("a", "kept"), everything)
	if got := s.of("a")[2]; got.Prev != first.Offset {
		t.Errorf("kept after what is not: behind %d, want %d", got.Prev, first.Offset)
	}
	publish(t, b, text("b", "not kept"), nil)
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
	if a, b := s.of("a"), s.of("b"); len(a) != 2 || len(b) != 1 || b[0].Prev != 0 {
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

func cancelled(t *testing.T, b broker.Broker, s *sink) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, keep := range []*store.Retention{everything, nil} {
		if _, err := b.Publish(ctx, text("a", "x"), keep); !errors.Is(err, context.Canceled) {
			t.Errorf("kept %t: got error %v, want %v", keep != nil, err, context.Canceled)
		}
	}
	if n := len(s.of("a")); n != 0 {
		t.Errorf("announced %d times, want never", n)
	}
	if page := read(t, b.History(), "a", store.Range{}); len(page.Messages) != 0 {
		t.Errorf("kept %d messages, want none", len(page.Messages))
	}
}

func race(t *testing.T, b broker.Broker, s *sink) {
	const publishers, topics, each = 8, 3, 50
	var wg sync.WaitGroup
	for w := range publishers {
		wg.Go(func() {
			for i := range each {
				for k := range topics {
					at := publish(t, b, text(fmt.Sprint(k), fmt.Sprint(w, i)), everything)
					list := s.of(fmt.Sprint(k))
					if last := list[len(list)-1].Offset; last < at.Offset {
						t.Errorf("announced up to %d when Publish returned %d", last, at.Offset)
					}
				}
			}
		})
	}
	wg.Wait()
	for k := range topics {
		top, said := uint64(0), map[string]bool{}
		for _, p := range s.of(fmt.Sprint(k)) {
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
	for i, p := range s.of("a") {
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("announcement %d: got %s", i, p.Payload)
		}
	}
}
