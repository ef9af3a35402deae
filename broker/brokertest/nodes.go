package brokertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// Engine joins nodes in one process, as what a broker runs over does: for tests of what
// is built on several nodes. A node can be cut off from it, and can end without a word.
type Engine struct {
	broker broker.Broker // whose sink it is

	mu     sync.Mutex // guards what follows; taken before a topic's, and not held while a sink is told
	nodes  []*Node
	topics map[string]*engineTopic
}

// engineTopic orders what is announced in a topic.
type engineTopic struct {
	mu         sync.Mutex // held while nodes are told
	users      []*Node    // that have subscribed
	subscribed bool       // by the engine, for good
}

// NewEngine returns an engine whose nodes publish through b, a broker of one process,
// which it starts.
func NewEngine(b broker.Broker) *Engine {
	e := &Engine{broker: b, topics: map[string]*engineTopic{}}
	e.broker.Start(e)
	return e
}

// Node returns one more node.
func (e *Engine) Node() *Node {
	n := &Node{engine: e, present: map[string]map[string]broker.Present{}}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nodes = append(e.nodes, n)
	return n
}

// topic returns a topic, made if there is none.
func (e *Engine) topic(name string) *engineTopic {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.topics[name]
	if t == nil {
		t = &engineTopic{}
		e.topics[name] = t
	}
	return t
}

// tell calls f for each node that has subscribed to a topic and is not cut off.
func (e *Engine) tell(topic string, f func(*Node)) {
	t := e.topic(topic)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.users {
		if n.reachable() == nil {
			f(n)
		}
	}
}

// Published implements broker.Sink.
func (e *Engine) Published(p broker.Publication) {
	e.tell(p.Topic, func(n *Node) { n.sink.Published(p) })
}

// Erased implements broker.Sink.
func (e *Engine) Erased(topic string, at store.Position) {
	e.tell(topic, func(n *Node) { n.sink.Erased(topic, at) })
}

// Lost implements broker.Sink.
func (e *Engine) Lost(topic string) {}

// Node is the broker of one node of an [Engine].
type Node struct {
	engine  *Engine
	sink    broker.Sink
	changed func(string, broker.Change) // nil: it does not ask who is present

	mu      sync.Mutex // guards what follows
	self    broker.Node
	answer  func(context.Context, []byte) ([]byte, error)
	cut     bool
	ended   bool
	present map[string]map[string]broker.Present // who is present on it, by topic and ref
}

var (
	_ broker.Cluster  = (*Node)(nil)
	_ broker.Presence = (*Node)(nil)
)

// reachable returns an error if the node is cut off or has ended.
func (n *Node) reachable() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut || n.ended {
		return broker.ErrUnavailable
	}
	return nil
}

// Cut cuts the node off: it is told nothing, and what it asks for fails.
func (n *Node) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
}

// Heal ends a Cut. The node is told that it has missed something.
func (n *Node) Heal() {
	n.mu.Lock()
	n.cut = false
	n.mu.Unlock()
	n.sink.Lost("")
}

// Kill ends the node without a word, and has the others notice.
func (n *Node) Kill() {
	n.mu.Lock()
	n.ended = true
	left := n.present
	n.present = map[string]map[string]broker.Present{}
	n.mu.Unlock()
	for topic, list := range left {
		n.engine.change(topic, broker.Change{Leaves: slices.Collect(maps.Values(list))})
	}
}

// Start implements broker.Broker.
func (n *Node) Start(sink broker.Sink) { n.sink = sink }

// Caps implements broker.Broker.
func (n *Node) Caps() broker.Caps { return broker.Caps{Nodes: true} }

// Subscribe implements broker.Broker.
func (n *Node) Subscribe(ctx context.Context, topic string) error {
	if err := n.reachable(); err != nil {
		return fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	if n.changed != nil {
		n.mu.Lock()
		n.present[topic] = map[string]broker.Present{}
		n.mu.Unlock()
	}
	t := n.engine.topic(topic)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.subscribed {
		if err := n.engine.broker.Subscribe(ctx, topic); err != nil {
			return err
		}
		t.subscribed = true
	}
	t.users = append(t.users, n)
	if n.changed != nil {
		n.changed(topic, broker.Change{Joins: n.engine.here(topic)})
	}
	return nil
}

// Unsubscribe implements broker.Broker.
func (n *Node) Unsubscribe(topic string) {
	t := n.engine.topic(topic)
	t.mu.Lock()
	t.users = slices.DeleteFunc(t.users, func(other *Node) bool { return other == n })
	t.mu.Unlock()
	n.mu.Lock()
	left := slices.Collect(maps.Values(n.present[topic]))
	delete(n.present, topic)
	n.mu.Unlock()
	n.engine.change(topic, broker.Change{Leaves: left})
}

// Publish implements broker.Broker.
func (n *Node) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	if err := n.reachable(); err != nil {
		return store.Position{}, fmt.Errorf("publish to %q: %w", p.Topic, err)
	}
	return n.engine.broker.Publish(ctx, p, keep)
}

// Erase implements broker.Broker.
func (n *Node) Erase(ctx context.Context, topic string, offset uint64) error {
	if err := n.reachable(); err != nil {
		return fmt.Errorf("erase %d of %q: %w", offset, topic, err)
	}
	return n.engine.broker.Erase(ctx, topic, offset)
}

// History implements broker.Broker.
func (n *Node) History() broker.History {
	if h := n.engine.broker.History(); h != nil {
		return nodeHistory{h, n}
	}
	return nil
}

// Close implements broker.Broker.
func (n *Node) Close() error {
	n.Kill()
	return nil
}

// nodeHistory can be read unless the node is cut off.
type nodeHistory struct {
	broker.History
	node *Node
}

func (h nodeHistory) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	if err := h.node.reachable(); err != nil {
		return store.Page{}, fmt.Errorf("read %q: %w", topic, err)
	}
	return h.History.Read(ctx, topic, r)
}

// Tops implements broker.Tops.
func (h nodeHistory) Tops(ctx context.Context, topics []string) ([]store.Position, error) {
	var tops []store.Position
	for _, topic := range topics {
		page, err := h.Read(ctx, topic, store.Range{Newest: true, Limit: 1})
		if err != nil {
			return nil, err
		}
		tops = append(tops, store.Position{Epoch: page.Epoch, Offset: page.Top})
	}
	return tops, nil
}

// StartCluster implements broker.Cluster.
func (n *Node) StartCluster(self broker.Node, answer func(context.Context, []byte) ([]byte, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.self, n.answer = self, answer
}

// up returns the nodes that are.
func (e *Engine) up() []*Node {
	e.mu.Lock()
	defer e.mu.Unlock()
	var up []*Node
	for _, n := range e.nodes {
		if _, answer := n.called(); n.reachable() == nil && answer != nil {
			up = append(up, n)
		}
	}
	return up
}

// called returns what the node has said that it is, and what answers for it; nil if it has
// said nothing.
func (n *Node) called() (broker.Node, func(context.Context, []byte) ([]byte, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.self, n.answer
}

// Nodes implements broker.Cluster.
func (n *Node) Nodes(context.Context) ([]broker.Node, error) {
	if err := n.reachable(); err != nil {
		return nil, err
	}
	var nodes []broker.Node
	for _, other := range n.engine.up() {
		self, _ := other.called()
		nodes = append(nodes, self)
	}
	return nodes, nil
}

// Ask implements broker.Cluster.
func (n *Node) Ask(ctx context.Context, request []byte) ([]broker.Answer, error) {
	if err := n.reachable(); err != nil {
		return nil, err
	}
	var answers []broker.Answer
	var came []chan broker.Answer
	for _, other := range n.engine.up() {
		if other == n {
			continue
		}
		self, answer := other.called()
		c := make(chan broker.Answer, 1)
		go func() {
			body, err := answer(ctx, slices.Clone(request))
			c <- broker.Answer{Node: self, Body: body, Err: err}
		}()
		answers, came = append(answers, broker.Answer{Node: self}), append(came, c)
	}
	for i, c := range came {
		select {
		case answers[i] = <-c:
			continue
		default:
		}
		select {
		case answers[i] = <-c:
		case <-ctx.Done():
			answers[i].Err = context.Cause(ctx)
		}
	}
	return answers, nil
}

// StartPresence implements broker.Presence.
func (n *Node) StartPresence(changed func(string, broker.Change)) { n.changed = changed }

// Present implements broker.Presence.
func (n *Node) Present(topic string, c broker.Change) {
	n.mu.Lock()
	for _, p := range c.Joins {
		n.present[topic][p.Ref] = p
	}
	for _, p := range c.Leaves {
		delete(n.present[topic], p.Ref)
	}
	n.mu.Unlock()
	n.engine.change(topic, c)
}

// change tells the nodes of a topic who has come and gone.
func (e *Engine) change(topic string, c broker.Change) {
	if len(c.Joins)+len(c.Leaves) == 0 {
		return
	}
	e.tell(topic, func(n *Node) {
		if n.changed != nil {
			n.changed(topic, c)
		}
	})
}

// here returns who is present in a topic.
func (e *Engine) here(topic string) (all []broker.Present) {
	e.mu.Lock()
	nodes := slices.Clone(e.nodes)
	e.mu.Unlock()
	for _, n := range nodes {
		n.mu.Lock()
		all = slices.AppendSeq(all, maps.Values(n.present[topic]))
		n.mu.Unlock()
	}
	return all
}

// ListPresence implements broker.Presence.
func (n *Node) ListPresence(_ context.Context, topic string) ([]broker.Present, error) {
	if err := n.reachable(); err != nil {
		return nil, err
	}
	return n.engine.here(topic), nil
}
