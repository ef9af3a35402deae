package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-chime/chime/broker"
)

// presences are those of this node, by topic. What has changed is written to the engine,
// and announced by the same script, until it is there.
type presences struct {
	engine  *engine
	changed func(topic string, c broker.Change)

	mu      sync.Mutex // guards what follows
	topics  map[string]*presence
	reads   []*order      // that are to learn who is present
	readers int           // how many goroutines read that
	saves   int           // how many topics are being saved
	leaving chan struct{} // the node is about to end: nothing is saved any more; closed when nothing is being saved
}

// presence is who is present on this node in one topic. Its fields are guarded by
// presences.mu.
type presence struct {
	refs    map[string]broker.Present
	unsaved map[string]bool // refs of which the engine is to be told that they are here, or not; whether it may know them
	written map[string]bool // refs of which it is being told
	listed  bool            // the engine knows that this node is in the topic
	saving  bool
}

func newPresence() *presence {
	return &presence{refs: map[string]broker.Present{}, unsaved: map[string]bool{}}
}

func (p *presences) init(e *engine) { p.engine, p.topics = e, map[string]*presence{} }

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
		t = newPresence()
		t.listed = true
		p.topics[topic] = t
	}
	for ref := range t.refs {
		if !known[ref] && !t.written[ref] {
			t.unsaved[ref], t.listed = true, false
		}
	}
	for ref := range known {
		if _, ok := t.refs[ref]; !ok && !t.written[ref] {
			t.unsaved[ref] = true
		}
	}
	p.save(topic, t)
}

// retell has the engine told of everybody in a topic. p.mu is held.
func (p *presences) retell(topic string, t *presence) {
	for ref := range t.refs {
		t.unsaved[ref] = true
	}
	t.listed = false
	p.save(topic, t)
}

// save has the engine told of what it does not know. p.mu is held.
func (p *presences) save(topic string, t *presence) {
	if t.saving || len(t.unsaved) == 0 || p.engine.ctx.Err() != nil || p.leaving != nil {
		return
	}
	t.saving = true
	p.saves++
	p.engine.tasks.Go(func() {
		defer p.saved()
		for tries := 0; ; tries++ {
			done, err := p.write(topic, t)
			switch {
			case err != nil:
				if tries == 0 && kindOf(err) == fatal {
					p.engine.log.Error("broker/redis: who is present can't be written, and is not shown", "topic", topic, "error", err)
				}
				if !pause(p.engine.ctx, tries) {
					return
				}
			case done:
				return
			default:
				tries = 0
			}
		}
	})
}

// write tells the engine of what is not saved. It reports done if nothing is left.
func (p *presences) write(topic string, t *presence) (done bool, err error) {
	p.mu.Lock()
	if p.leaving != nil || len(t.unsaved) == 0 && (len(t.refs) > 0 || !t.listed) {
		t.saving = false
		if len(t.refs) == 0 {
			delete(p.topics, topic)
		}
		p.mu.Unlock()
		return true, nil
	}
	c := t.take()
	list, unlist := !t.listed && len(t.refs) > 0, t.listed && len(t.refs) == 0 && len(t.unsaved) == 0
	t.listed = t.listed || list
	p.mu.Unlock()

	e := p.engine
	node, channel := e.id, e.names.channel(topic)
	args := []string{channel, node, pack(c), strconv.Itoa(len(c.Joins))}
	for _, who := range c.Joins {
		args = append(args, who.Ref, node+"\n"+pack(broker.Change{Joins: []broker.Present{who}}))
	}
	for _, who := range c.Leaves {
		args = append(args, who.Ref)
	}
	err = e.look(e.ctx, func(ctx context.Context) error {
		if list { // before anybody is present: who buries this node must find all
			if err := run(ctx, e.client, listScript, []string{e.names.topics(node)}, topic).Error(); err != nil {
				return err
			}
		}
		if len(c.Joins)+len(c.Leaves) == 0 { // whoever was left has left before the engine was told
			return nil
		}
		return run(ctx, e.client, presentScript, []string{e.names.present(topic)}, args...).Error()
	})
	p.mu.Lock()
	if err != nil {
		maps.Copy(t.unsaved, t.written)
		t.listed = t.listed && !list
	}
	t.written = nil
	p.mu.Unlock()
	if err == nil && unlist {
		p.mu.Lock()
		still := len(t.refs) == 0 && len(t.unsaved) == 0
		t.listed = t.listed && !still
		p.mu.Unlock()
		if still {
			err = e.client.Do(e.ctx, e.client.B().Srem().Key(e.names.topics(node)).Member(topic).Build()).Error()
		}
	}
	return false, err
}

const (
	// What is announced of presence at one time: with all who are in a large topic Redis
	// would cut the connections that it announces by (see maxPayload).
	presentAtOnce      = 500
	presentBytesAtOnce = 1 << 20
)

// take returns some of what the engine is to be told. Joins are told before leaves
// are: what replaces a ref is there before that has left. presences.mu is held.
func (t *presence) take() (c broker.Change) {
	t.written = map[string]bool{}
	full := func(bytes int) bool { return len(t.written) >= presentAtOnce || bytes > presentBytesAtOnce }
	bytes := 0
	for ref := range t.unsaved {
		if full(bytes) {
			break
		}
		if who, ok := t.refs[ref]; ok {
			c.Joins = append(c.Joins, who)
			t.written[ref] = true
			bytes += len(who.Ref) + len(who.Key) + len(who.Meta)
		}
	}
	for ref := range t.written {
		delete(t.unsaved, ref)
	}
	for ref := range t.unsaved {
		if full(bytes) {
			break
		}
		c.Leaves = append(c.Leaves, broker.Present{Ref: ref})
		t.written[ref] = true
		delete(t.unsaved, ref)
	}
	return c
}

// saved is called when a topic is saved, or can't be.
func (p *presences) saved() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.saves--; p.saves == 0 && p.leaving != nil {
		close(p.leaving)
	}
}

// leave has all leave, at the end of the node.
func (p *presences) leave(ctx context.Context) error {
	p.mu.Lock()
	p.leaving = make(chan struct{})
	if p.saves == 0 {
		close(p.leaving)
	}
	p.mu.Unlock()
	select {
	case <-p.leaving: // what is being written must not come after
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return p.bury(ctx, p.engine.id)
}

// bury has all leave who are present on a node.
func (p *presences) bury(ctx context.Context, node string) error {
	e := p.engine
	topics, err := e.client.Do(ctx, e.client.B().Smembers().Key(e.names.topics(node)).Build()).AsStrSlice()
	if err != nil {
		return err
	}
	var failed []error
	for _, topic := range topics {
		if err := p.clear(ctx, topic, node); err != nil {
			failed = append(failed, err)
			continue
		}
		failed = append(failed, e.client.Do(ctx, e.client.B().Srem().Key(e.names.topics(node)).Member(topic).Build()).Error())
	}
	return errors.Join(failed...)
}

// clear has all leave who are present on a node in one topic.
func (p *presences) clear(ctx context.Context, topic, node string) error {
	e := p.engine
	return run(ctx, e.client, presentScript, []string{e.names.present(topic)}, e.names.channel(topic), node, "").Error()
}

// ListPresence implements broker.Presence.
func (b *Broker) ListPresence(ctx context.Context, topic string) ([]broker.Present, error) {
	s, err := b.here.read(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("present in %q: %w", topic, err)
	}
	up, err := b.nodes.up(ctx)
	if err != nil {
		return nil, fmt.Errorf("present in %q: %w", topic, err)
	}
	var list []broker.Present
	for _, r := range s.refs {
		if slices.ContainsFunc(up, func(s state) bool { return s.id == r.node }) {
			list = append(list, r.Present)
		}
	}
	return list, nil
}

// snapshot is who is present in a topic, after a change.
type snapshot struct {
	change uint64
	refs   map[string]remote
}

// remote is who is present on a node.
type remote struct {
	broker.Present
	node string
}

// read returns who is present in a topic.
func (p *presences) read(ctx context.Context, topic string) (*snapshot, error) {
	e := p.engine
	var all map[string]string
	err := e.look(ctx, func(ctx context.Context) (err error) {
		all, err = e.client.Do(ctx, e.client.B().Hgetall().Key(e.names.present(topic)).Build()).AsStrMap()
		return err
	})
	if err != nil {
		return nil, err
	}
	s := &snapshot{refs: map[string]remote{}}
	for ref, text := range all {
		if ref == "" {
			s.change, err = strconv.ParseUint(text, 10, 64)
		} else {
			node, packed, _ := strings.Cut(text, "\n")
			var c broker.Change
			if c, err = unpack(packed); err == nil && len(c.Joins) == 1 {
				s.refs[ref] = remote{c.Joins[0], node}
			}
		}
		if err != nil {
			return nil, errForm
		}
	}
	return s, nil
}
