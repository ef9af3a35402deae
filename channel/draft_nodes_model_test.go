package channel

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/drafttest"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// The reference: the text of each draft. Nodes that write them lose each other's
// announcements, hear them late, twice and in disorder, are cut off and die, and clients come
// and go. All that a client is shown makes sense to it: no delta is lost or doubled, none is of
// a draft that it does not know, none of a draft whose message it was sent, and each text is
// the beginning of what was written. When the nodes have come to rest each client has just
// the drafts that there are.
func TestDraftsOfNodesAtRandom(t *testing.T) {
	need.Bubbles(t, 60, 600, func(t *testing.T, seed uint64) {
		f := newFleet(t, seed)
		for range 120 {
			f.step()
		}
		f.settle()
		f.end()
	})
}

// fleet is a few nodes, what is written on them, and who watches.
type fleet struct {
	t       *testing.T
	r       *rand.Rand
	engine  *brokertest.Engine
	nodes   []*fleetNode
	clients int
	drafts  []*fleetDraft
	texts   texts
}

type fleetNode struct {
	hub     *Hub
	broker  *brokertest.Node
	network *brokertest.Unreliable
	watches []*fleetClient
	cut     bool
}

// fleetDraft is one that is being written.
type fleetDraft struct {
	id    string
	node  *fleetNode
	parts chan string
	ends  chan error
}

// texts are what was appended to each draft, by its ID.
type texts struct {
	mu   sync.Mutex // guards what follows
	list map[string]string
}

func (x *texts) add(id, text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list[id] += text
}

func (x *texts) of(id string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.list[id]
}

// fleetClient is a client of a node, and what it makes of what it is sent.
type fleetClient struct {
	*reader
	t     *testing.T
	texts *texts

	mu     sync.Mutex // guards what follows
	joined bool       // else its node was cut off
	view   drafttest.View
}

func newFleet(t *testing.T, seed uint64) *fleet {
	r := rand.New(rand.NewPCG(seed, 0))
	var s store.Store
	if r.IntN(4) > 0 {
		s = store.NewMemory()
	}
	f := &fleet{t: t, r: r, engine: brokertest.NewEngine(local.New(s)), texts: texts{list: map[string]string{}}}
	for range 3 {
		f.add(s != nil)
	}
	return f
}

// add adds a node.
func (f *fleet) add(retains bool) {
	n := &fleetNode{broker: f.engine.Node()}
	n.network = brokertest.NewUnreliable(n.broker, f.r.Uint64())
	if f.r.IntN(3) > 0 {
		n.network.LoseAll()
	}
	n.hub = NewHub(Config{Broker: n.network, Log: slog.New(slog.DiscardHandler), Limits: transport.Limits{QueueBytes: 16 << 10}})
	var options []Option
	if retains {
		options = append(options, History{Keep: 1000, Replay: 3})
	}
	n.hub.Channel("{topic}", &scripted{}, options...)
	f.nodes = append(f.nodes, n)
}

func (f *fleet) step() {
	n := f.nodes[f.r.IntN(len(f.nodes))]
	switch dice := f.r.IntN(100); {
	case dice < 8 && len(f.drafts) < 4:
		f.begin(n)
	case dice < 45 && len(f.drafts) > 0:
		f.append(f.drafts[f.r.IntN(len(f.drafts))])
	case dice < 52 && len(f.drafts) > 0:
		f.finish(f.r.IntN(len(f.drafts)))
	case dice < 62 && len(n.watches) < 3:
		f.join(n)
	case dice < 66 && len(n.watches) > 0:
		f.leave(n, f.r.IntN(len(n.watches)))
	case dice < 70 && len(n.watches) > 0:
		n.watches[f.r.IntN(len(n.watches))].stick(f.r.IntN(2) == 0)
	case dice < 74:
		n.cut = !n.cut
		if n.cut {
			n.broker.Cut()
		} else {
			n.broker.Heal()
		}
	case dice < 75:
		f.kill(n)
	case dice < 80:
		n.network.Settle()
	case dice < 88:
		for range f.r.IntN(8) {
			_ = n.hub.Broadcast(f.t.Context(), "a", "noise", map[string]string{"x": strings.Repeat("x", 1000)}) // it may be cut off
		}
	case dice < 90:
		time.Sleep(time.Duration(f.r.IntN(20)) * time.Second)
	default:
		time.Sleep(time.Duration(f.r.IntN(300)) * time.Millisecond)
	}
}

func (f *fleet) begin(n *fleetNode) {
	d := &fleetDraft{node: n, parts: make(chan string), ends: make(chan error)}
	id, err := n.hub.Draft(f.t.Context(), "a", drafttest.Final, map[string]int{}, func(ctx context.Context, out *Draft) error {
		for {
			select {
			case text := <-d.parts:
				f.texts.add(out.ID(), text) // before anybody can be shown it
				if err := out.Append(text); err != nil {
					return err
				}
			case err := <-d.ends:
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	if err == nil { // else the node is cut off
		d.id = id
		f.drafts = append(f.drafts, d)
	}
}

func (f *fleet) append(d *fleetDraft) {
	for range 1 + f.r.IntN(3) {
		d.parts <- strings.Repeat([]string{"a", "é", "\"", "\n", "🙂", "\\u00"}[f.r.IntN(6)], 1+f.r.IntN(4))
		if f.r.IntN(2) == 0 {
			time.Sleep(deltaEvery)
		}
	}
}

func (f *fleet) finish(i int) {
	d := f.drafts[i]
	f.drafts = append(f.drafts[:i:i], f.drafts[i+1:]...)
	d.ends <- []error{nil, nil, nil, Refuse("no good")}[f.r.IntN(4)]
}

func (f *fleet) join(n *fleetNode) {
	f.clients++
	c := &fleetClient{t: f.t, texts: &f.texts}
	c.reader = newReader(n.hub, fmt.Sprint("client-", f.clients))
	c.sends = c.shown
	n.watches = append(n.watches, c)
	c.says(f.t, fmt.Sprintf(`["1","1","a","phx_join",{"@last":%d}]`, f.r.IntN(2)*50))
}

func (f *fleet) leave(n *fleetNode, i int) {
	n.watches[i].Close(0, "", Closed)
	n.watches = append(n.watches[:i:i], n.watches[i+1:]...)
}

// kill ends a node, and those who are on it. Another one comes.
func (f *fleet) kill(n *fleetNode) {
	n.broker.Kill()
	for i, other := range f.nodes {
		if other == n {
			f.nodes = append(f.nodes[:i:i], f.nodes[i+1:]...)
			break
		}
	}
	f.close(n)
	f.add(n.broker.History() != nil)
}

func (f *fleet) close(n *fleetNode) {
	for len(n.watches) > 0 {
		f.leave(n, 0)
	}
	if err := n.hub.Shutdown(f.t.Context()); err != nil {
		f.t.Error(err)
	}
	var rest []*fleetDraft
	for _, d := range f.drafts {
		if d.node != n {
			rest = append(rest, d)
		}
	}
	f.drafts = rest
}

// settle compares what the clients have, when all nodes hear each other again.
func (f *fleet) settle() {
	for _, n := range f.nodes {
		n.broker.Heal()
		for _, c := range n.watches {
			c.stick(false)
		}
	}
	for range 40 {
		time.Sleep(time.Second)
		for _, n := range f.nodes {
			n.network.Settle()
		}
	}
	synctest.Wait()
	want := map[string]string{}
	for _, d := range f.drafts {
		want[d.id] = f.texts.of(d.id)
	}
	for i, n := range f.nodes {
		for _, c := range n.watches {
			if got, joined := c.shows(); joined && !c.over() && !maps.Equal(got, want) {
				f.t.Errorf("%s on node %d has %q, want %q", c.id, i, got, want)
			}
		}
	}
}

func (f *fleet) end() {
	for _, n := range f.nodes {
		f.close(n)
		n.broker.Kill()
	}
}

// shows returns the text of each draft that the client shows, if it has joined.
func (c *fleetClient) shows() (drafts map[string]string, joined bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view.Texts(), c.joined
}

// shown does what the protocol says.
func (c *fleetClient) shown(s sent) {
	f, err := wire.Decode([]byte(s.String()))
	if err != nil {
		c.t.Errorf("%s: %v", s, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Event {
	case wire.EventReply:
		c.joined = strings.HasPrefix(string(f.Payload), `{"status":"ok"`)
		c.view = drafttest.View{Written: c.texts.of}
	case wire.EventError: // the node could not read the history
		c.joined = false
	default:
		if err := c.view.Take(f.Event, f.Payload); err != nil {
			c.t.Errorf("%s: %v", c.id, err)
		}
	}
}
