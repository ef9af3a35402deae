package channel_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/transport"
)

// cluster joins the presences of nodes in one process.
type cluster struct {
	mu    sync.Mutex // guards what follows
	nodes []*node
}

// node is the broker of one node. Its messages stay on it.
type node struct {
	broker.Broker
	of      *cluster
	changed func(string, broker.Change)
	topics  map[string]map[string]broker.Present // that it has subscribed to, and who is present on it, by ref
}

func (c *cluster) node() *node {
	n := &node{Broker: local.New(nil), of: c, topics: map[string]map[string]broker.Present{}}
	c.nodes = append(c.nodes, n)
	return n
}

func (n *node) StartPresence(changed func(string, broker.Change)) { n.changed = changed }

func (n *node) Subscribe(ctx context.Context, topic string) error {
	n.of.mu.Lock()
	defer n.of.mu.Unlock()
	var others []broker.Present
	for _, other := range n.of.nodes {
		others = slices.AppendSeq(others, maps.Values(other.topics[topic]))
	}
	n.topics[topic] = map[string]broker.Present{}
	n.changed(topic, broker.Change{Joins: others})
	return n.Broker.Subscribe(ctx, topic)
}

func (n *node) Unsubscribe(topic string) {
	n.Broker.Unsubscribe(topic)
	n.of.mu.Lock()
	defer n.of.mu.Unlock()
	n.end(topic)
}

// end has all who are present on n leave a topic. The cluster's lock is held.
func (n *node) end(topic string) {
	left := slices.Collect(maps.Values(n.topics[topic]))
	delete(n.topics, topic)
	n.of.tell(topic, broker.Change{Leaves: left})
}

func (n *node) Present(topic string, c broker.Change) {
	n.of.mu.Lock()
	defer n.of.mu.Unlock()
	for _, p := range c.Joins {
		n.topics[topic][p.Ref] = p
	}
	for _, p := range c.Leaves {
		delete(n.topics[topic], p.Ref)
	}
	n.of.tell(topic, c)
}

func (c *cluster) tell(topic string, change broker.Change) {
	for _, n := range c.nodes {
		if n.topics[topic] != nil {
			n.changed(topic, change)
		}
	}
}

func (n *node) ListPresence(_ context.Context, topic string) (all []broker.Present, err error) {
	n.of.mu.Lock()
	defer n.of.mu.Unlock()
	for _, other := range n.of.nodes {
		all = slices.AppendSeq(all, maps.Values(other.topics[topic]))
	}
	return all, nil
}

// kill ends a node without a word.
func (n *node) kill() {
	n.of.mu.Lock()
	defer n.of.mu.Unlock()
	for topic := range maps.Clone(n.topics) {
		n.end(topic)
	}
}

// With a broker that joins the presences of nodes a topic has one, and no channel knows.
func TestPresenceOfSeveralNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := &cluster{}
		var hubs []*channeltest.Hub
		for range 3 {
			hub := channeltest.Open(t, channel.Config{Broker: of.node()})
			hub.Channel("lobby:{id}", &lobby{}, channel.Presence(how))
			hubs = append(hubs, hub)
		}
		join := func(node int, key string) *channeltest.Member {
			return hubs[node].Connect(transport.Identity{ID: key}).Join(lobbyTopic, nil)
		}
		type all map[string][]wish
		ann := join(0, "ann")
		ann.WantPresence(all{"ann": {{}}})
		bob := join(1, "bob")
		second := join(1, "ann")
		for _, m := range []*channeltest.Member{ann, bob, second} {
			m.WantPresence(all{"ann": {{}, {}}, "bob": {{}}})
		}
		bob.Push("do", wish{What: "update", N: 7}).WantReply(nil)
		second.Leave()
		for _, m := range []*channeltest.Member{ann, bob} {
			m.WantPresence(all{"ann": {{}}, "bob": {{N: 7}}})
		}
		time.Sleep(presence.Pause)
		for i, hub := range hubs { // the last has no member
			if got := metas(t, hub, lobbyTopic); len(got) != 2 || len(got["ann"]) != 1 || got["bob"][0].N != 7 {
				t.Errorf("node %d lists %v, want ann and bob", i, got)
			}
		}
		of.nodes[1].kill()
		ann.WantPresence(all{"ann": {{}}})
		ann.WantNothing()
	})
}
