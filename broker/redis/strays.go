package redis

import "context"

// stray is what is said of a node that was known only by those who are present on it.
const stray = "?"

// presentOn are the topics in which somebody is present, by node.
type presentOn map[string]map[string]bool

func (p presentOn) add(node, topic string) {
	if p[node] == nil {
		p[node] = map[string]bool{}
	}
	p[node][topic] = true
}

// doubt takes note of a topic in which somebody is present on another node. If the engine does not
// know that node nobody would see it gone: it may have lost that the node was up, which may have
// ended before it said so again. That is looked for when the nodes are listed next.
func (n *nodes) doubt(node, topic string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.doubts.add(node, topic)
}

// takeDoubts returns those there are. What the engine knows is to be asked after that: before it
// had lost something it knew more.
func (n *nodes) takeDoubts() presentOn {
	n.mu.Lock()
	defer n.mu.Unlock()
	doubts := n.doubts
	n.doubts = presentOn{}
	return doubts
}

// settle has the engine know the nodes that it should. If they are not heard of soon they are
// buried as others are.
func (n *nodes) settle(ctx context.Context, doubts presentOn, r *roll) {
	for _, s := range r.nodes {
		delete(doubts, s.id)
	}
	for id, topics := range doubts {
		if err := n.adopt(ctx, id, topics); err != nil {
			n.doubtAgain(presentOn{id: topics})
		}
	}
}

// doubtAgain puts back what was taken, and is still to be looked for.
func (n *nodes) doubtAgain(doubts presentOn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, topics := range doubts {
		for topic := range topics {
			n.doubts.add(id, topic)
		}
	}
}

// adopt has the engine know a node, and in which topics somebody is present on it.
func (n *nodes) adopt(ctx context.Context, id string, topics map[string]bool) error {
	e := n.engine
	for topic := range topics {
		if err := run(ctx, e.client, listScript, []string{e.names.topics(id)}, topic).Error(); err != nil {
			return err
		}
	}
	return run(ctx, e.client, adoptScript, []string{e.names.nodes()}, id, stray).Error()
}
