package nats_test

import (
	"testing"
	"time"

	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/store"
)

// Nodes whose clocks are minutes off count ages as the servers do: what one says is not old for
// the other, nor deleted before its time, and has the time at which it was stored.
func TestClocksThatAreMinutesOff(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	keep := &store.Retention{Age: 2 * time.Minute}
	offs := []time.Duration{-7 * time.Minute, 0, 7 * time.Minute}
	var nodes []*nats.Broker
	for _, off := range offs {
		b := open(t, nats.At(nats.Options{Server: s, Prefix: p, MaxAge: time.Hour}, off))
		listen(t, b, "a")
		nodes = append(nodes, b)
	}
	l := listen(t, open(t, nats.Options{Server: s, Prefix: p, MaxAge: time.Hour}), "a", "e")
	const each = 70 // so many that each node trims the topic
	for i := range each {
		for k, b := range nodes {
			m := said("a", "x")
			m.At = time.Now().Add(offs[k]) // as a hub does
			if i == 0 {
				m.Topic = "e"
				if _, err := b.Publish(t.Context(), m, nil); err != nil {
					t.Fatal(err)
				}
				m.Topic = "a"
			}
			if _, err := b.Publish(t.Context(), m, keep); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.wait(t, "all messages", func() bool { return len(l.messages) == each*len(nodes)+len(nodes) })
	for _, m := range l.messages {
		if age := time.Since(m.At); age.Abs() > time.Minute {
			t.Fatalf("a message of %q is announced as %v old", m.Topic, age)
		}
	}
	for i, b := range nodes {
		if err := nats.Trim(t.Context(), b, "a", *keep); err != nil {
			t.Fatal(err)
		}
		for _, r := range []store.Range{{}, {Newest: true}} {
			page, err := b.History().Read(t.Context(), "a", r)
			if err != nil || len(page.Messages) != each*len(nodes) || !page.Complete {
				t.Errorf("a clock off by %v, %+v: got %d messages, complete %t, %v, want %d", offs[i], r, len(page.Messages), page.Complete, err, each*len(nodes))
			}
		}
	}
	old := said("old", "of another time")
	old.At = time.Now().Add(-time.Hour)
	at, err := nodes[0].Publish(t.Context(), old, &store.Retention{})
	if err != nil {
		t.Fatal(err)
	}
	if m := history(t, nodes[1], "old").Messages[0]; m.Offset != at.Offset || m.At.Sub(old.At).Abs() > time.Second {
		t.Errorf("what is said of another time: got %v, want %v", m.At, old.At)
	}
}
