package brokertest

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

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
		seen := s.through(t, topic, page, last.Offset)
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
