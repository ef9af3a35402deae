package redis

import "context"

// recall has the engine told of the topics in which nobody is present on this node, and it
// knows somebody: it may have lost that they left. Where somebody is, the node hears of the
// topic, and compares when it has missed something.
func (p *presences) recall(ctx context.Context) error {
	e := p.engine
	var topics []string
	err := e.look(ctx, func(ctx context.Context) (err error) {
		topics, err = e.client.Do(ctx, e.client.B().Smembers().Key(e.names.topics(e.id)).Build()).AsStrSlice()
		return err
	})
	for _, topic := range topics {
		if !p.adoptDeserted(topic) || err != nil {
			continue
		}
		var s *snapshot
		if s, err = e.presentIn(ctx, topic); err == nil {
			p.compare(topic, s.of(e.id))
		}
	}
	return err
}

// adoptDeserted takes note of a topic of the engine in which nobody is present on this node, so that
// the engine is told in time. It reports whether that is so.
func (p *presences) adoptDeserted(topic string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[topic]
	if t == nil {
		t = p.adopt(topic)
	}
	return len(t.refs) == 0
}

// recallLater is recall, until it is done.
func (p *presences) recallLater() {
	p.engine.tasks.Go(func() {
		for tries := 0; p.recall(p.engine.ctx) != nil && pause(p.engine.ctx, tries); tries++ {
		}
	})
}
