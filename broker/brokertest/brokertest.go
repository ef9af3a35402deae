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
	"slices"
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
