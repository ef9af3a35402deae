package redis

import (
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
)

// presences are those of this node, by topic. What has changed is written to the engine,
// and announced by the same script, until it is there.
type presences struct {
	engine  *engine
	changed func(topic string, c broker.Change)
	doubt   func(node, topic string) // somebody is present on another node

	mu      sync.Mutex // guards what follows
	topics  map[string]*presence
	empty   []emptied     // topics in which nobody is, and was last; the first that was is first
	saves   int           // how many topics are being saved
	leaving chan struct{} // the node is about to end: nothing is saved any more; closed when nothing is being saved
}

// presence is who is present on this node in one topic. Its fields are guarded by
// presences.mu.
type presence struct {
	refs    map[string]broker.Present
	unsaved map[string]bool // refs of which the engine is to be told that they are here, or not; whether it may know them
	written map[string]bool // refs of which it is being told
	listed  bool            // the engine may know that this node is in the topic
	sure    bool            // it does
	empty   time.Time       // since when nobody is in it
	saving  bool
}

// emptied is a topic in which nobody is since a time.
type emptied struct {
	topic string
	since time.Time
}

func newPresence() *presence {
	return &presence{refs: map[string]broker.Present{}, unsaved: map[string]bool{}}
}

func (p *presences) init(e *engine, doubt func(node, topic string)) {
	p.engine, p.doubt, p.topics = e, doubt, map[string]*presence{}
}

// StartPresence implements broker.Presence.
func (b *Broker) StartPresence(changed func(topic string, c broker.Change)) { b.here.changed = changed }

// Present implements broker.Presence.
func (b *Broker) Present(topic string, c broker.Change) {
	p := &b.here
	if p.changed == nil {
		panic("chime: broker/redis: Present: StartPresence was not called")
	}
	p.mu.Lock()
	t := p.topics[topic]
	if t == nil {
		t = newPresence()
		p.topics[topic] = t
	}
	for _, who := range c.Joins {
		t.join(who)
	}
	for _, who := range c.Leaves {
		t.leave(who.Ref)
	}
	p.save(topic, t)
	p.mu.Unlock()
	p.changed(topic, c)
}

// join takes note of somebody who is here. presences.mu is held.
func (t *presence) join(who broker.Present) {
	_, here := t.refs[who.Ref]
	known, unsaved := t.unsaved[who.Ref]
	t.refs[who.Ref] = who
	t.unsaved[who.Ref] = known || here && !unsaved || t.written[who.Ref]
}

// leave takes note of somebody who is here no more. Of whom the engine was never told it need
// not be: while it is away they would become more and more. presences.mu is held.
func (t *presence) leave(ref string) {
	delete(t.refs, ref)
	if len(t.refs) == 0 {
		t.empty = time.Now()
	}
	if known, unsaved := t.unsaved[ref]; unsaved && !known && !t.written[ref] {
		delete(t.unsaved, ref)
	} else {
		t.unsaved[ref] = true
	}
}

// exit has all leave who are present on this node.
func (p *presences) exit(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[topic]
	if t == nil {
		return
	}
	for ref := range t.refs {
		t.leave(ref)
	}
	p.save(topic, t)
}

// again has the engine told of everybody.
func (p *presences) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for topic, t := range p.topics {
		p.retell(topic, t)
	}
}

// hear is called with what the engine has told the others of this node. They may have taken
// it to be gone; or a write that came late has somebody be here who is not.
func (p *presences) hear(topic string, n news) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[topic]
	if n.all {
		if t != nil {
			p.retell(topic, t)
		}
		return
	}
	for _, who := range n.Joins {
		if t == nil {
			t = newPresence()
			p.topics[topic] = t
		}
		if _, ok := t.refs[who.Ref]; !ok {
			t.unsaved[who.Ref] = true
		}
	}
	if t != nil {
		p.save(topic, t)
	}
}

// compare has the engine told of what it should know of this node in a topic, and does not:
// whoever has taken over may not have had it. Known is who it has there.
func (p *presences) compare(topic string, known map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[topic]
	if t == nil {
		if len(known) == 0 {
			return
		}
		t = p.adopt(topic)
	}
	for ref := range t.refs {
		if !known[ref] && !t.written[ref] {
			t.unsaved[ref], t.sure = true, false
		}
	}
	for ref := range known {
		if _, ok := t.refs[ref]; !ok && !t.written[ref] {
			t.unsaved[ref] = true
		}
	}
	p.save(topic, t)
}

// adopt takes note of a topic that the engine has this node be in, and it is not. p.mu is held.
func (p *presences) adopt(topic string) *presence {
	t := newPresence()
	t.listed, t.empty = true, time.Now()
	p.topics[topic] = t
	p.empty = append(p.empty, emptied{topic, t.empty})
	return t
}

// retell has the engine told of everybody in a topic. p.mu is held.
func (p *presences) retell(topic string, t *presence) {
	for ref := range t.refs {
		t.unsaved[ref] = true
	}
	t.sure = false
	p.save(topic, t)
}
