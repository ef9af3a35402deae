package nats

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
)

const (
	beatEvery = 3 * time.Second       // how often a node says that it is up
	firstBeat = 50 * time.Millisecond // and after its first word; the time triples until then
	deadAfter = 12 * time.Second      // without a word for so long it is not
)

// nodes are those that are up, as they say themselves.
type nodes struct {
	site    *site
	present func() bool           // somebody is present on this node
	met     func(instance string) // one is up on which somebody is present
	ended   func(instance string) // one is up no longer
	beaten  func()                // this node has said that it is up

	saying sync.Mutex // held while something is said; taken before mu
	left   bool       // and it was the last word; guarded by saying

	mu    sync.Mutex // guards what follows
	began time.Time
	self  broker.Node
	heard time.Time        // when this node heard itself
	known map[string]*peer // by instance, without this one
}

// peer is another node.
type peer struct {
	node  broker.Node // without an ID if it has not started to be one of the cluster
	heard time.Time
	mute  bool // it has not answered since
}

// beat is what a node says of itself.
type beat struct {
	Instance string
	Node     broker.Node
	New      bool `json:",omitempty"` // it wants to hear of the others at once
	People   bool `json:",omitempty"` // somebody is present there
	Left     bool `json:",omitempty"`
}

// name gives this node its name among the others.
func (n *nodes) name(self broker.Node) {
	n.mu.Lock()
	n.self = self
	n.mu.Unlock()
	n.say(beat{New: true})
}

// list returns all nodes that have a name, and this one.
func (n *nodes) list() []broker.Node {
	n.mu.Lock()
	list := []broker.Node{n.self}
	n.mu.Unlock()
	for _, node := range n.named() {
		list = append(list, node)
	}
	return list
}

// named returns the others that have a name, by instance.
func (n *nodes) named() map[string]broker.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string]broker.Node{}
	for instance, p := range n.known {
		if p.node.ID != "" {
			all[instance] = p.node
		}
	}
	return all
}

// up reports whether another node is.
func (n *nodes) up(instance string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known[instance] != nil
}

// awaited returns the instances of the others from which an answer is to be expected. One without
// a name has no clients.
func (n *nodes) awaited() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string]bool{}
	for instance, p := range n.known {
		if !p.mute && p.node.ID != "" {
			all[instance] = true
		}
	}
	return all
}

// mute has nodes that did not answer not awaited until they are heard of: else one that has
// died would hold up each call until it counts as dead.
func (n *nodes) mute(instances map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for instance := range instances {
		if p := n.known[instance]; p != nil {
			p.mute = true
		}
	}
}

// say announces something of this node. Nothing comes behind its last word: the others would
// take it to be up again.
func (n *nodes) say(one beat) {
	n.saying.Lock()
	defer n.saying.Unlock()
	if n.left {
		return
	}
	n.left = one.Left
	n.mu.Lock()
	one.Instance, one.Node = n.site.id, n.self
	n.mu.Unlock()
	one.People = n.present()
	if body, err := json.Marshal(one); err == nil {
		_ = n.site.conn.Publish(n.site.names.alive(), body) // without a connection it is said again
	}
}

// run says that this node is up, and looks which are not any more.
func (n *nodes) run() {
	n.mu.Lock()
	n.began = time.Now()
	n.mu.Unlock()
	if err := n.site.subscribe(n.site.names.alive(), n.hear); err != nil {
		n.site.log.Warn("broker/nats: other nodes are not heard", "error", err)
	}
	wait := firstBeat
	for {
		// Servers may not have told each other yet who is to be answered.
		n.say(beat{New: wait < beatEvery})
		select {
		case <-time.After(wait):
		case <-n.site.ctx.Done():
			return
		}
		wait = min(3*wait, beatEvery)
		for _, instance := range n.silent() {
			n.ended(instance)
		}
		n.beaten()
	}
}

// hear takes note of what another node says of itself.
func (n *nodes) hear(m *client.Msg) {
	var one beat
	if err := json.Unmarshal(m.Data, &one); err != nil || one.Instance == "" || n.site.ctx.Err() != nil {
		return
	}
	if one.Instance == n.site.id {
		n.echo()
		return
	}
	missed, late := n.note(&one)
	switch {
	case one.Left:
		n.ended(one.Instance)
		return
	case one.New:
		n.say(beat{})
	case late:
		n.site.suspect()
	}
	if missed && one.People {
		n.met(one.Instance)
	}
}

// echo takes note that this node hears itself, and so what the others say. If it did not for a
// while, since it was stopped or had no connection, they may have been heard just as little.
func (n *nodes) echo() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if now.Sub(n.heard) > 2*beatEvery {
		for _, p := range n.known {
			p.heard = now
		}
	}
	n.heard = now
}

// note reports whether this node may not know who is present on another, which it did not know or
// which has not answered, and whether that is late: it is not new and was not heard for some time,
// and others may not have been.
func (n *nodes) note(one *beat) (missed, late bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = map[string]*peer{}
	}
	was := n.known[one.Instance]
	if one.Left {
		delete(n.known, one.Instance)
	} else {
		n.known[one.Instance] = &peer{node: one.Node, heard: time.Now()}
	}
	return was == nil || was.mute, was == nil && time.Since(n.began) > deadAfter
}

// silent forgets the nodes that were not heard of for too long while this one was, and
// returns them.
func (n *nodes) silent() (dead []string) {
	silent := map[string]broker.Node{}
	n.mu.Lock()
	for instance, p := range n.known {
		if n.heard.Sub(p.heard) > deadAfter {
			silent[instance] = p.node
			delete(n.known, instance)
		}
	}
	n.mu.Unlock()
	for instance, node := range silent {
		dead = append(dead, instance)
		n.site.log.Warn("broker/nats: another node says nothing, and is taken to be gone", "node", node.ID, "name", node.Name, "url", node.URL, "for", deadAfter)
	}
	return dead
}

// leave says that this node is up no longer.
func (n *nodes) leave() {
	if !n.site.conn.IsConnected() {
		return
	}
	n.say(beat{Left: true})
	ctx, cancel := context.WithTimeout(n.site.ctx, time.Second)
	defer cancel()
	_ = n.site.conn.FlushWithContext(ctx)
}
