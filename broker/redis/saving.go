package redis

import (
	"context"
	"maps"
	"strconv"
	"time"

	"github.com/go-chime/chime/broker"
)

// save has the engine told of what it does not know. p.mu is held.
func (p *presences) save(topic string, t *presence) {
	if t.saving || len(t.unsaved) == 0 && !p.over(t) || p.engine.ctx.Err() != nil || p.leaving != nil {
		return
	}
	t.saving = true
	p.saves++
	p.engine.tasks.Go(func() {
		defer p.saved()
		for tries := 0; ; {
			s := p.next(topic, t)
			if s == nil {
				return
			}
			err := p.write(topic, t, s)
			if err == nil {
				tries = 0
				continue
			}
			if tries == 0 && kindOf(err) == fatal {
				p.engine.log.Error("broker/redis: who is present can't be written, and is not shown", "topic", topic, "error", err)
			}
			if !pause(p.engine.ctx, tries) {
				return
			}
			tries++
		}
	})
}

// step is what the engine is told at one time of a topic. Without a change the node is in it no
// longer.
type step struct {
	broker.Change
	list bool // the engine does not know yet that the node is in the topic
}

// next returns what the engine is to be told, or nil if that is nothing.
func (p *presences) next(topic string, t *presence) *step {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.leaving == nil && len(t.unsaved) > 0:
		s := &step{Change: t.take(), list: !t.sure && len(t.refs) > 0}
		t.listed, t.sure = t.listed || s.list, t.sure || s.list
		return s
	case p.leaving == nil && p.over(t):
		return &step{}
	}
	t.saving = false
	if len(t.refs) == 0 {
		if t.listed {
			p.empty = append(p.empty, emptied{topic, t.empty})
		} else {
			delete(p.topics, topic)
		}
	}
	return nil
}

// over reports whether nobody has been in a topic for so long that a write to it which was late
// has come, and an engine that is another one by now is known to be. Else nothing would lead to
// somebody whom it has there again. p.mu is held.
func (p *presences) over(t *presence) bool {
	return t.listed && len(t.refs) == 0 && len(t.unsaved) == 0 && time.Since(t.empty) >= p.engine.dead()
}

// sweep has the topics unlisted in which nobody has been for a while.
func (p *presences) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.empty) > 0 && time.Since(p.empty[0].since) >= p.engine.dead() {
		topic := p.empty[0].topic
		p.empty = p.empty[1:]
		if t := p.topics[topic]; t != nil {
			p.save(topic, t)
		}
	}
}

// write tells the engine a step.
func (p *presences) write(topic string, t *presence, s *step) error {
	if len(s.Joins)+len(s.Leaves) == 0 {
		return p.unlist(topic, t)
	}
	e := p.engine
	args := []string{e.names.channel(topic), e.id, pack(s.Change), strconv.Itoa(len(s.Joins))}
	for _, who := range s.Joins {
		args = append(args, who.Ref, e.id+"\n"+pack(broker.Change{Joins: []broker.Present{who}}))
	}
	for _, who := range s.Leaves {
		args = append(args, who.Ref)
	}
	err := e.look(e.ctx, func(ctx context.Context) error {
		if s.list { // before anybody is present: who buries this node must find all
			if err := run(ctx, e.client, listScript, []string{e.names.topics(e.id)}, topic).Error(); err != nil {
				return err
			}
		}
		return run(ctx, e.client, presentScript, []string{e.names.present(topic)}, args...).Error()
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		maps.Copy(t.unsaved, t.written)
		t.sure = t.sure && !s.list
	}
	t.written = nil
	return err
}

// unlist has the engine know that this node is in a topic no longer, unless it has somebody of
// this node there.
func (p *presences) unlist(topic string, t *presence) error {
	e := p.engine
	s, err := e.presentIn(e.ctx, topic)
	if err != nil {
		return err
	}
	p.mu.Lock()
	for ref := range s.of(e.id) {
		if _, ok := t.refs[ref]; !ok {
			t.unsaved[ref], t.empty = true, time.Now()
		}
	}
	over := p.over(t)
	t.sure = t.sure && !over
	p.mu.Unlock()
	if !over {
		return nil
	}
	if err := e.client.Do(e.ctx, e.client.B().Srem().Key(e.names.topics(e.id)).Member(topic).Build()).Error(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.listed = false
	return nil
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
