package brokertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// member is a node under test, and what it is told.
type member struct {
	broker.Broker
	*sink
	self broker.Node

	mu      sync.Mutex // guards present
	present map[string]map[string]broker.Present
}

func newMember(t *testing.T, b broker.Broker, i int) *member {
	m := &member{Broker: b, sink: &sink{announced: map[string][]broker.Publication{}, erased: map[string][]erasure{}}, present: map[string]map[string]broker.Present{}}
	m.self = broker.Node{ID: fmt.Sprintf("node-%03d", i), Name: fmt.Sprint("host ", i), URL: fmt.Sprintf("http://127.0.0.1:%d/socket", 4000+i), Key: fmt.Sprint("key of ", i)}
	m.came.L = &m.sink.mu
	m.sink.history = b.History()
	b.Start(m.sink)
	if c, ok := b.(broker.Cluster); ok {
		c.StartCluster(m.self, func(_ context.Context, request []byte) ([]byte, error) {
			if string(request) == "fail" {
				return nil, errors.New("refused by " + m.self.ID)
			}
			return append([]byte(m.self.ID+" heard "), request...), nil
		})
	}
	if p, ok := b.(broker.Presence); ok {
		p.StartPresence(m.changed)
	}
	if !b.Caps().Nodes {
		t.Errorf("Caps: got %+v, want Nodes", b.Caps())
	}
	return m
}

func (m *member) changed(topic string, c broker.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.present[topic] == nil {
		m.present[topic] = map[string]broker.Present{}
	}
	for _, p := range c.Joins {
		m.present[topic][p.Ref] = p
	}
	for _, p := range c.Leaves {
		delete(m.present[topic], p.Ref)
	}
}

// here returns the refs that the node knows to be present, in order.
func (m *member) here(topic string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(m.present[topic])), " ")
}

// eventually fails the test if what get returns does not become want in time. It asks again and
// again: nobody tells a test what a node knows of the others, and where an engine is a process
// no bubble has its time.
func eventually(t *testing.T, what, want string, get func() string) {
	t.Helper()
	var got string
	for end := time.Now().Add(2 * patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if got = get(); got == want {
			return
		}
	}
	t.Fatalf("%s: got %q after %v, want %q", what, got, 2*patience, want)
}

func subscribeAll(t *testing.T, nodes []*member, topic string) {
	t.Helper()
	for _, n := range nodes {
		subscribe(t, n.Broker, topic)
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
		list := nodes[0].wait(t, topic, 1)
		for n := 1; list[len(list)-1].Offset < last.Offset; n++ {
			list = nodes[0].wait(t, topic, n)
		}
		seen := map[uint64]bool{}
		for _, m := range page.Messages {
			seen[m.Offset] = true
		}
		for _, p := range list {
			seen[p.Offset] = true
		}
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
		kept := map[uint64]bool{}
		for _, m := range read(t, nodes[0].History(), "a", store.Range{}).Messages {
			kept[m.Offset] = true
		}
		for _, n := range nodes {
			list := n.wait(t, "a", announced)
			n.sink.mu.Lock()
			erased := n.erased["a"]
			n.sink.mu.Unlock()
			if len(erased) == 0 {
				t.Fatalf("%s was told of no erasure", n.self.ID)
			}
			for _, p := range list[erased[len(erased)-1].after:] {
				if !kept[p.Offset] {
					t.Fatalf("%d was announced on %s after all was erased, and is not in the history", p.Offset, n.self.ID)
				}
			}
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

func presentBetween(t *testing.T, nodes []*member) {
	at := func(i int) broker.Presence {
		p, ok := nodes[i].Broker.(broker.Presence)
		if !ok {
			t.Skipf("%T is no broker.Presence", nodes[i].Broker)
		}
		return p
	}
	who := func(ref string) broker.Present {
		return broker.Present{Key: "key of " + ref, Ref: ref, Meta: fmt.Appendf(nil, `{"phx_ref":%q}`, ref)}
	}
	want := func(refs string, on ...int) {
		t.Helper()
		for _, i := range on {
			eventually(t, "present, on "+nodes[i].self.ID, refs, func() string { return nodes[i].here("a") })
		}
		for i := range nodes {
			eventually(t, "listed, on "+nodes[i].self.ID, refs, func() string {
				list, err := at(i).ListPresence(t.Context(), "a")
				if err != nil {
					return err.Error()
				}
				var got []string
				for _, p := range list {
					if w := who(p.Ref); p.Key != w.Key || string(p.Meta) != string(w.Meta) {
						t.Errorf("listed %+v, want %+v", p, w)
					}
					got = append(got, p.Ref)
				}
				slices.Sort(got)
				return strings.Join(got, " ")
			})
		}
	}
	subscribe(t, at(0), "a")
	at(0).Present("a", broker.Change{Joins: []broker.Present{who("r1")}})
	if got := nodes[0].here("a"); got != "r1" {
		t.Errorf("the node itself knows of %q when Present returns, want r1", got)
	}
	subscribe(t, at(1), "a")
	want("r1", 0, 1)
	at(1).Present("a", broker.Change{Joins: []broker.Present{who("r2"), who("r3")}})
	want("r1 r2 r3", 0, 1)
	at(1).Present("a", broker.Change{Joins: []broker.Present{who("r4")}, Leaves: []broker.Present{who("r2")}})
	want("r1 r3 r4", 0, 1)
	subscribe(t, at(2), "a")
	want("r1 r3 r4", 0, 1, 2)
	at(1).Unsubscribe("a") // with it those leave who are present there
	want("r1", 0, 2)
	at(0).Present("a", broker.Change{Leaves: []broker.Present{who("r1")}})
	want("", 0, 2)
}

func answers(t *testing.T, nodes []*member) {
	at := func(i int) broker.Cluster {
		c, ok := nodes[i].Broker.(broker.Cluster)
		if !ok {
			t.Skipf("%T is no broker.Cluster", nodes[i].Broker)
		}
		return c
	}
	for i := range nodes {
		eventually(t, "nodes", fmt.Sprint([]broker.Node{nodes[0].self, nodes[1].self, nodes[2].self}), func() string {
			list, err := at(i).Nodes(t.Context())
			if err != nil {
				return err.Error()
			}
			slices.SortFunc(list, func(a, b broker.Node) int { return strings.Compare(a.ID, b.ID) })
			return fmt.Sprint(list)
		})
	}
	for _, c := range []struct{ request, body, err string }{
		{"hello", "%s heard hello", ""},
		{strings.Repeat("x", 100_000), "%s heard " + strings.Repeat("x", 100_000), ""},
		{"fail", "", "refused by %s"},
	} {
		list, err := at(0).Ask(t.Context(), []byte(c.request))
		if err != nil || len(list) != 2 {
			t.Fatalf("%.10s: got %d answers, %v, want those of the two others", c.request, len(list), err)
		}
		for _, a := range list {
			wantBody, wantErr := c.body, c.err
			if c.err == "" {
				wantBody = fmt.Sprintf(c.body, a.Node.ID)
			} else {
				wantErr = fmt.Sprintf(c.err, a.Node.ID)
			}
			got := ""
			if a.Err != nil {
				got = a.Err.Error()
			}
			if a.Node.ID == nodes[0].self.ID || string(a.Body) != wantBody || got != wantErr {
				t.Errorf("%.10s: got %.40q, %v from %s, want %.40q, %q", c.request, a.Body, a.Err, a.Node.ID, wantBody, wantErr)
			}
		}
	}
}
