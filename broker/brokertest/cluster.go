package brokertest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// RunCluster checks that the brokers which open returns, each that of one node over the
// same engine, are one: new, with a history that is empty, not started. Open sees to their
// end with t.Cleanup. A broker that is a [broker.Presence] or a [broker.Cluster] is held to
// that too.
func RunCluster(t *testing.T, open func(t *testing.T, nodes int) []broker.Broker) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, nodes []*member)
	}{
		{"every node is told in the one order", everywhere},
		{"subscribing is a barrier for what others publish", barrierBetween},
		{"what is forgotten on one node is announced on none", forgottenBetween},
		{"what has a key is published once by all", onceBetween},
		{"nodes that come and go miss nothing", comeAndGo},
		{"who is present on one is present on all", presentBetween},
		{"nodes are named and answer", answers},
	} {
		t.Run(c.name, func(t *testing.T) {
			var nodes []*member
			for i, b := range open(t, 3) {
				nodes = append(nodes, newMember(t, b, i))
			}
			c.run(t, nodes)
			for i, n := range nodes {
				if err := n.Close(); err != nil {
					t.Errorf("close node %d: %v", i, err)
				}
			}
		})
	}
}

// inOrder fails the test unless the announcements are n, each behind the one before it.
func inOrder(t *testing.T, list []broker.Publication, n int) {
	t.Helper()
	if len(list) != n {
		t.Fatalf("got %d announcements, want %d", len(list), n)
	}
	for i, p := range list {
		if i > 0 && (p.Prev != list[i-1].Offset || p.Offset <= p.Prev) {
			t.Fatalf("announcement %d is %d behind %d, want one behind %d", i, p.Offset, p.Prev, list[i-1].Offset)
		}
	}
}

func everywhere(t *testing.T, nodes []*member) {
	const each = 60
	subscribeAll(t, nodes, "a")
	var wg sync.WaitGroup
	for i, n := range nodes {
		for w := range 2 {
			wg.Go(func() {
				for k := range each {
					p := text("a", fmt.Sprint(i, w, k))
					p.From = fmt.Sprint("client ", i)
					publish(t, n.Broker, p, everything)
				}
			})
		}
	}
	wg.Wait()
	want := 2 * each * len(nodes)
	first := nodes[0].wait(t, "a", want)
	for _, n := range nodes {
		list := n.wait(t, "a", want)
		inOrder(t, list, want)
		for i := range list {
			if a, b := list[i], first[i]; a.Offset != b.Offset || a.Epoch != b.Epoch || string(a.Payload) != string(b.Payload) || a.From != b.From || !a.At.Equal(b.At) {
				t.Fatalf("announcement %d: got %+v on %s, want %+v", i, a, n.self.ID, b)
			}
		}
		if page := read(t, n.History(), "a", store.Range{}); len(page.Messages) != want || !page.Complete {
			t.Errorf("history on %s: got %d messages, complete %t, want %d", n.self.ID, len(page.Messages), page.Complete, want)
		}
	}
	for _, n := range nodes { // ephemeral ones reach all, too
		publish(t, n.Broker, text("a", "ephemeral"), nil)
	}
	for _, n := range nodes {
		n.wait(t, "a", want+len(nodes))
	}
}

func barrierBetween(t *testing.T, nodes []*member) {
	for round := range 20 {
		topic := fmt.Sprint("between:", round)
		var wg sync.WaitGroup
		const each = 5
		for _, n := range nodes[1:] {
			wg.Go(func() {
				for i := range each {
					publish(t, n.Broker, text(topic, fmt.Sprint(n.self.ID, i)), everything)
				}
			})
		}
		subscribe(t, nodes[0].Broker, topic)
		page := read(t, nodes[0].History(), topic, store.Range{})
		wg.Wait()
		last := publish(t, nodes[1].Broker, text(topic, "last"), everything)
		seen := nodes[0].through(t, topic, page, last.Offset)
		if want := each*(len(nodes)-1) + 1; len(seen) != want {
			t.Fatalf("round %d: %d messages were read or announced, want %d", round, len(seen), want)
		}
	}
}

func forgottenBetween(t *testing.T, nodes []*member) {
	const rounds, each = 15, 6
	subscribeAll(t, nodes, "a")
	announced := 0
	for range rounds {
		var wg sync.WaitGroup
		for w, n := range nodes {
			wg.Go(func() {
				for i := range each {
					if w == 0 && i == each/2 {
						if err := n.Erase(t.Context(), "a", 0); err != nil {
							t.Error(err)
						}
					}
					publish(t, n.Broker, text("a", fmt.Sprint(w, i)), everything)
				}
			})
		}
		wg.Wait()
		announced += each * len(nodes)
		page := read(t, nodes[0].History(), "a", store.Range{})
		for _, n := range nodes {
			n.wantKept(t, "a", n.wait(t, "a", announced), page)
		}
	}
}

func onceBetween(t *testing.T, nodes []*member) {
	const keys = 10
	subscribeAll(t, nodes, "a")
	for k := range keys {
		var wg sync.WaitGroup
		got := make([]store.Position, 2*len(nodes))
		for i := range got {
			wg.Go(func() {
				p := text("a", fmt.Sprint(k))
				p.Key = fmt.Sprint("key ", k)
				got[i] = publish(t, nodes[i%len(nodes)].Broker, p, everything)
			})
		}
		wg.Wait()
		for _, at := range got {
			if at != got[0] || at.Offset == 0 {
				t.Fatalf("positions of key %d: got %v, want one", k, got)
			}
		}
	}
	for _, n := range nodes {
		inOrder(t, n.wait(t, "a", keys), keys)
		other := text("a", "another")
		other.Key = "key 0"
		if _, err := n.Publish(t.Context(), other, everything); !errors.Is(err, store.ErrKeyReused) {
			t.Errorf("another payload on %s: got %v, want %v", n.self.ID, err, store.ErrKeyReused)
		}
	}
}

// comeAndGo has nodes subscribe and end that while others publish: what a node reads and
// is announced between is all there is, in one order.
func comeAndGo(t *testing.T, nodes []*member) {
	const each, topic = 150, "busy"
	var publishers, subscribers sync.WaitGroup
	done := make(chan struct{})
	for _, n := range nodes {
		publishers.Go(func() {
			for i := range each {
				publish(t, n.Broker, text(topic, fmt.Sprint(n.self.ID, i)), everything)
			}
		})
		subscribers.Go(func() {
			for round := 0; ; round++ {
				before := len(n.of(topic))
				subscribe(t, n.Broker, topic)
				page := read(t, n.History(), topic, store.Range{})
				select {
				case <-done:
				case <-time.After(5 * time.Millisecond):
				}
				n.Unsubscribe(topic)
				top := page.Top
				for _, p := range n.of(topic)[before:] {
					switch {
					case p.Offset <= top:
					case p.Prev != top:
						t.Errorf("round %d on %s: announced %d behind %d, want behind %d", round, n.self.ID, p.Offset, p.Prev, top)
						return
					default:
						top = p.Offset
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	publishers.Wait()
	close(done)
	subscribers.Wait()
	said := map[string]bool{}
	for _, m := range read(t, nodes[0].History(), topic, store.Range{}).Messages {
		said[string(m.Payload)] = true
	}
	if want := each * len(nodes); len(said) != want {
		t.Errorf("history: got %d messages, want %d", len(said), want)
	}
}
