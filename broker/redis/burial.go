package redis

import (
	"context"
	"errors"
	"slices"
	"time"
)

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
	if err := p.bury(ctx, p.engine.id, p.emptied()); err != nil {
		return err
	}
	return p.forget(ctx, p.engine.id)
}

// emptied are the topics in which the engine was told that nobody is any more. Should it have
// somebody there again, that is on a node that nobody knows: see adopt.
func (p *presences) emptied() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]bool{}
	for topic, t := range p.topics {
		if t.listed && len(t.refs)+len(t.unsaved)+len(t.written) == 0 {
			all[topic] = true
		}
	}
	return all
}

// bury has all leave who are present on a node, but for some topics.
func (p *presences) bury(ctx context.Context, node string, but map[string]bool) error {
	e := p.engine
	topics, err := e.client.Do(ctx, e.client.B().Smembers().Key(e.names.topics(node)).Build()).AsStrSlice()
	if err != nil {
		return err
	}
	var failed []error
	for _, topic := range topics {
		if !but[topic] {
			failed = append(failed, p.clear(ctx, topic, node))
		}
	}
	return errors.Join(failed...)
}

// forget has a node be in no topic any more.
func (p *presences) forget(ctx context.Context, node string) error {
	e := p.engine
	return e.client.Do(ctx, e.client.B().Del().Key(e.names.topics(node)).Build()).Error()
}

// clear has all leave who are present on a node in one topic.
func (p *presences) clear(ctx context.Context, topic, node string) error {
	e := p.engine
	return run(ctx, e.client, presentScript, []string{e.names.present(topic)}, e.names.channel(topic), node, "").Error()
}

// bury has those who were present on a node that is gone leave. Of all nodes that see it
// gone one does so; if it can't another will.
func (n *nodes) bury(s state) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.buried, s.id) {
		return
	}
	n.buried = append(n.buried, s.id)
	n.engine.tasks.Go(func() {
		if err := n.burial(s); err != nil && n.engine.ctx.Err() == nil {
			n.engine.log.Warn("broker/redis: those on a node that is gone are still shown", "node", s.id, "error", err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.buried = slices.DeleteFunc(n.buried, func(id string) bool { return id == s.id })
	})
}

func (n *nodes) burial(s state) error {
	e, ctx := n.engine, n.engine.ctx
	err := e.client.Do(ctx, e.client.B().Set().Key(e.names.burial(s.id)).Value(n.engine.id).Nx().PxMilliseconds(e.dead().Milliseconds()).Build()).Error()
	if err != nil { // another node does
		return ignoreNil(err)
	}
	if s.heard != never && !s.stray { // else another node has said so, and has not done all
		e.log.Warn("broker/redis: another node says nothing, and is taken to be gone", "node", s.ID, "name", s.Name, "url", s.URL, "for", s.quiet.Round(time.Second))
	}
	if err := n.here.bury(ctx, s.id, nil); err != nil {
		return err
	}
	// Its topics stay known as long as it is: if it is up after all it may be in them already again,
	// and says so all anew when it finds that it is not known. Whatever fails is done again.
	if s.heard != never {
		marked, err := run(ctx, e.client, buryScript, []string{e.names.nodes()}, s.id, s.heard, never+" "+stray).AsInt64()
		if err != nil || marked == 0 {
			return err
		}
	}
	if err := n.here.forget(ctx, s.id); err != nil {
		return err
	}
	return run(ctx, e.client, buryScript, []string{e.names.nodes()}, s.id, never, "").Error()
}

// never is when a node was heard that is being buried.
const never = "0"
