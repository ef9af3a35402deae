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
		p.mu.Lock()
		here := p.topics[topic] != nil
		p.mu.Unlock()
		if here || err != nil {
			continue
		}
		var s *snapshot
		if s, err = p.read(ctx, topic); err == nil {
			known := map[string]bool{}
			for ref, r := range s.refs {
				if r.node == e.id {
					known[ref] = true
				}
			}
			p.compare(topic, known)
		}
	}
	return err
}

// recallLater is recall, until it is done.
func (p *presences) recallLater() {
	p.engine.tasks.Go(func() {
		for tries := 0; p.recall(p.engine.ctx) != nil && pause(p.engine.ctx, tries); tries++ {
		}
	})
}
