package nats_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-chime/chime/broker/nats"
)

// All nodes lose their connections at one time, again and again, as when a server ends that many
// are connected to. Each comes back, is told to look once or twice each time, and hears again.
func TestAllNodesConnectAgainAtOneTime(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	link := proxy(t, strings.TrimPrefix(s.URL(), "nats://"))
	const many, cuts, topics = 10, 2, 10
	var names []string
	for i := range topics {
		names = append(names, fmt.Sprint("t", i))
	}
	var all []*listener
	for range many {
		all = append(all, listen(t, open(t, nats.Options{URL: "nats://" + link.address(), Prefix: p}), names...))
	}
	other := open(t, nats.Options{Server: s, Prefix: p})
	listen(t, other)
	for n := range cuts {
		link.cut()
		say(t, other, "t0", fmt.Sprint("meanwhile ", n)) // who hears it reads it
		link.heal()
		for _, l := range all {
			l.wait(t, "the sink is told that some may be lost", func() bool { return l.losses > n })
		}
		for _, topic := range names {
			say(t, other, topic, fmt.Sprint("after ", n))
		}
		for i, l := range all {
			after := map[string]bool{}
			l.wait(t, fmt.Sprintf("node %d hears all topics again", i), func() bool {
				for _, m := range l.messages {
					if string(m.Payload) == fmt.Sprint("after ", n) {
						after[m.Topic] = true
					}
				}
				return len(after) == topics
			})
		}
	}
	for i, l := range all {
		l.mu.Lock()
		if l.losses > 2*cuts {
			t.Errorf("node %d was told %d times to look after %d cuts", i, l.losses, cuts)
		}
		l.mu.Unlock()
	}
}
