package nats

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
)

const (
	// asking is how long the others have to say who is present on them. One that does not is
	// asked again when it reminds of itself.
	asking = time.Second
	// perPart bounds the bytes of one part of an answer or a change.
	perPart = 128 << 10
	// reminders is how many beats there are between two in which a node says where it is with
	// the topics that somebody is present in: what got lost is asked for then.
	reminders = 5
)

// people are those present, in the topics that this node has subscribed to. Each node
// announces its own, and numbers what it announces in a topic. Whoever finds that a number is
// missing asks it for all of them.
type people struct {
	changed func(string, broker.Change)
	beats   int // used by one goroutine

	mu     sync.Mutex // guards topics
	topics map[string]*crowd
}

// crowd is who is present in one topic. But for mine it is used by steps of its line only.
type crowd struct {
	broker  *Broker
	topic   string
	line    line
	sub     *client.Subscription
	others  map[string]*share // by instance
	missing map[string]uint64 // by instance that is being asked who is present: how far it is

	mu      sync.Mutex // guards what follows
	version uint64
	mine    map[string]broker.Present
}

// share is who is present on one other node.
type share struct {
	version uint64
	present map[string]broker.Present
}

// news is what a node announces in a topic, or a part of its answer.
type news struct {
	Instance string
	Version  uint64           // of the topic on that node, with this
	Joins    []broker.Present `json:",omitempty"`
	Leaves   []string         `json:",omitempty"` // refs
	Left     bool             `json:",omitempty"` // nobody is any more
	More     bool             `json:",omitempty"` // of an answer: there is another part
}

// StartPresence implements broker.Presence.
func (b *Broker) StartPresence(changed func(string, broker.Change)) {
	b.people.mu.Lock() // this node says already that it is up
	b.people.changed, b.people.topics = changed, map[string]*crowd{}
	b.people.mu.Unlock()
	for _, subject := range []string{b.names.list(), b.names.listOf(b.id)} {
		if _, err := b.conn.Subscribe(subject, b.tell); err != nil {
			b.log.Warn("chime: broker/nats: others can't ask who is present here", "error", err)
		}
	}
}

// now is where versions begin: beyond those of the time when the node was in the topic before.
func now() uint64 { return uint64(time.Now().UnixNano()) } //nolint:gosec // not before 1970

// close ends all changes.
func (p *people) close() {
	for _, c := range p.all() {
		c.line.close()
	}
}

func (p *people) of(topic string) *crowd {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.topics[topic]
}

func (p *people) all() []*crowd {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.topics))
}

// enter begins with a topic: it returns when all other nodes have said who is present on
// them, or a second is over.
func (p *people) enter(ctx context.Context, b *Broker, topic string) error {
	c := &crowd{broker: b, topic: topic, line: line{tasks: &b.tasks, most: maxWaiting}, others: map[string]*share{}, missing: map[string]uint64{}, mine: map[string]broker.Present{}, version: now()}
	p.mu.Lock()
	p.topics[topic] = c
	p.mu.Unlock()
	var err error
	if c.sub, err = b.conn.ChanSubscribe(b.names.who(topic), b.topics.came); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	return c.ask(within, b.names.list(), b.nodes.others())
}

// leave ends with a topic, and tells the others that nobody is present here any more.
func (p *people) leave(topic string) {
	p.mu.Lock()
	c := p.topics[topic]
	delete(p.topics, topic)
	p.mu.Unlock()
	if c == nil {
		return
	}
	if c.sub != nil {
		_ = c.sub.Unsubscribe()
	}
	c.line.close()
	c.mu.Lock()
	present := len(c.mine) > 0
	version := c.version
	c.mu.Unlock()
	if present {
		c.publish(news{Version: version, Left: true})
	}
}

// end has all leave who are present on a node that is gone.
func (p *people) end(instance string) {
	for _, c := range p.all() {
		c.line.add(0, func() { c.set(instance, nil, 0) })
	}
}

// compare asks nodes for all who are present, after announcements may have been lost.
func (p *people) compare(b *Broker, subject string, others map[string]bool) {
	for _, c := range p.all() {
		within, cancel := context.WithTimeout(b.ctx, asking)
		_ = c.ask(within, subject, maps.Clone(others))
		cancel()
	}
}

// any reports whether somebody is present on this node.
func (p *people) any() bool {
	return slices.ContainsFunc(p.all(), func(c *crowd) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.mine) > 0
	})
}

// remind says how far this node is with the topics that somebody is present in.
func (p *people) remind() {
	if p.beats++; p.beats%reminders != 0 {
		return
	}
	for _, c := range p.all() {
		c.mu.Lock()
		version, present := c.version, len(c.mine) > 0
		c.mu.Unlock()
		if present {
			c.publish(news{Version: version})
		}
	}
}

// Present implements broker.Presence.
func (b *Broker) Present(topic string, change broker.Change) {
	c := b.people.of(topic)
	if c == nil {
		return
	}
	c.line.now(func() { b.people.changed(topic, change) })
	for len(change.Joins)+len(change.Leaves) > 0 {
		n, size := news{}, 0
		for len(change.Joins) > 0 && size < perPart {
			size += sizeOfPresent(&change.Joins[0])
			n.Joins, change.Joins = append(n.Joins, change.Joins[0]), change.Joins[1:]
		}
		for len(change.Joins) == 0 && len(change.Leaves) > 0 && size < perPart { // joins count first
			size += len(change.Leaves[0].Ref)
			n.Leaves, change.Leaves = append(n.Leaves, change.Leaves[0].Ref), change.Leaves[1:]
		}
		c.mu.Lock()
		for _, one := range n.Joins {
			c.mine[one.Ref] = one
		}
		for _, ref := range n.Leaves {
			delete(c.mine, ref)
		}
		c.version++
		n.Version = c.version
		c.mu.Unlock()
		c.publish(n)
	}
}

func sizeOfPresent(p *broker.Present) int { return len(p.Key) + len(p.Ref) + len(p.Meta) + 64 }

func (c *crowd) publish(n news) {
	n.Instance = c.broker.id
	if body, err := json.Marshal(n); err == nil {
		_ = c.broker.conn.Publish(c.broker.names.who(c.topic), body) // a reminder tells of what is lost
	}
}

// hear takes what another node announces.
func (c *crowd) hear(m *client.Msg) {
	var n news
	if err := json.Unmarshal(m.Data, &n); err != nil || n.Instance == c.broker.id {
		return
	}
	if !c.line.add(len(m.Data), func() { c.apply(n) }) {
		c.broker.suspect()
	}
}

// apply is a step of the line.
func (c *crowd) apply(n news) {
	known := c.others[n.Instance]
	switch {
	case n.Left:
		c.set(n.Instance, nil, n.Version)
		return
	case known != nil && n.Version == known.version+1 && len(n.Joins)+len(n.Leaves) > 0:
	case known != nil && n.Version <= known.version:
		return
	default: // something is missing
		c.catchUp(n)
		return
	}
	known.version = n.Version
	change := broker.Change{Joins: n.Joins}
	for _, one := range n.Joins {
		known.present[one.Ref] = one
	}
	for _, ref := range n.Leaves {
		if one, ok := known.present[ref]; ok {
			change.Leaves = append(change.Leaves, one)
			delete(known.present, ref)
		}
	}
	c.tell(change)
}

// catchUp asks a node for all who are present on it, and again if it has gone on meanwhile. It is
// a step of the line.
func (c *crowd) catchUp(n news) {
	was, busy := c.missing[n.Instance]
	c.missing[n.Instance] = max(was, n.Version)
	if busy {
		return
	}
	c.broker.tasks.Go(func() {
		within, cancel := context.WithTimeout(c.broker.ctx, asking)
		defer cancel()
		_ = c.ask(within, c.broker.names.listOf(n.Instance), map[string]bool{n.Instance: true})
		c.line.add(0, func() {
			version := c.missing[n.Instance]
			delete(c.missing, n.Instance)
			if c.broker.nodes.others()[n.Instance] {
				c.apply(news{Instance: n.Instance, Version: version})
			}
		})
	})
}

func (c *crowd) tell(change broker.Change) {
	if len(change.Joins)+len(change.Leaves) > 0 {
		c.broker.people.changed(c.topic, change)
	}
}

// set has others be present on a node, in place of those so far. It is a step of the line.
func (c *crowd) set(instance string, present map[string]broker.Present, version uint64) {
	known := c.others[instance]
	if known != nil && present != nil && version < known.version {
		return // an answer that was overtaken
	}
	var change broker.Change
	for ref, one := range present {
		if known == nil || known.present[ref].Ref == "" {
			change.Joins = append(change.Joins, one)
		}
	}
	if known != nil {
		for ref, one := range known.present {
			if present[ref].Ref == "" {
				change.Leaves = append(change.Leaves, one)
			}
		}
	}
	if present == nil {
		delete(c.others, instance)
	} else {
		c.others[instance] = &share{version, present}
	}
	c.tell(change)
}

// ask asks who is present on other nodes, and returns when all have answered or ctx ends.
func (c *crowd) ask(ctx context.Context, subject string, others map[string]bool) error {
	return c.broker.listFrom(ctx, subject, c.topic, others, func(instance string, version uint64, present map[string]broker.Present) {
		done := make(chan struct{})
		if c.line.add(0, func() {
			defer close(done)
			c.set(instance, present, version)
		}) {
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
	})
}

// listFrom asks nodes who is present in a topic, and calls each for every answer that is whole.
func (b *Broker) listFrom(ctx context.Context, subject, topic string, others map[string]bool, each func(instance string, version uint64, present map[string]broker.Present)) error {
	parts := map[string]map[string]broker.Present{}
	err := b.calls.gather(ctx, subject, []byte(topic), func(m *client.Msg) (bool, error) {
		var n news
		if json.Unmarshal(m.Data, &n) == nil && n.Instance != "" && n.Instance != b.id {
			if parts[n.Instance] == nil {
				parts[n.Instance] = map[string]broker.Present{}
			}
			for _, one := range n.Joins {
				parts[n.Instance][one.Ref] = one
			}
			if !n.More {
				each(n.Instance, n.Version, parts[n.Instance])
				delete(others, n.Instance)
			}
		}
		return len(others) == 0, nil
	})
	if ctx.Err() != nil || errors.Is(err, client.ErrNoResponders) {
		err = nil // those who have answered count
	}
	return err
}

// tell answers who is present here. Nobody is an answer, too.
func (b *Broker) tell(m *client.Msg) {
	n := news{Instance: b.id, Version: now()}
	var list []broker.Present
	if c := b.people.of(string(m.Data)); c != nil {
		c.mu.Lock()
		n.Version = c.version
		list = slices.Collect(maps.Values(c.mine))
		c.mu.Unlock()
	}
	for {
		size := 0
		n.Joins, n.More = nil, false
		for len(list) > 0 && size < perPart {
			size += sizeOfPresent(&list[0])
			n.Joins, list = append(n.Joins, list[0]), list[1:]
		}
		n.More = len(list) > 0
		body, err := json.Marshal(n)
		if err == nil {
			err = b.conn.Publish(m.Reply, body)
		}
		if err != nil || !n.More {
			return
		}
	}
}

// ListPresence implements broker.Presence. A node that does not answer within a second is
// taken to have nobody.
func (b *Broker) ListPresence(ctx context.Context, topic string) ([]broker.Present, error) {
	if !b.conn.IsConnected() {
		return nil, broker.ErrUnavailable
	}
	var all []broker.Present
	if c := b.people.of(topic); c != nil {
		c.mu.Lock()
		all = slices.Collect(maps.Values(c.mine))
		c.mu.Unlock()
	}
	others := b.nodes.others()
	if len(others) == 0 {
		return all, nil
	}
	within, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	err := b.listFrom(within, b.names.list(), topic, others, func(_ string, _ uint64, present map[string]broker.Present) {
		all = slices.AppendSeq(all, maps.Values(present))
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return all, err
}
