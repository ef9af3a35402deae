package nats

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
)

// crowd is who is present in one topic. But for mine it is used by steps of its line only.
type crowd struct {
	people  *people
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

// here returns who is present on this node, and how far it is.
func (c *crowd) here() (list []broker.Present, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.mine)), c.version
}

// inhabited reports whether somebody is present on this node, and how far it is.
func (c *crowd) inhabited() (somebody bool, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mine) > 0, c.version
}

// close ends the changes, and tells the others that nobody is present here any more.
func (c *crowd) close() {
	if c.sub != nil {
		_ = c.sub.Unsubscribe()
	}
	c.line.close()
	if somebody, version := c.inhabited(); somebody {
		c.publish(news{Version: version, Left: true})
	}
}

// change has some of this node come and go, and tells all of it.
func (c *crowd) change(change broker.Change) {
	c.line.now(func() { c.people.changed(c.topic, change) })
	list, alone := c.people.parts(change.Joins, change.Leaves)
	if len(alone) > 0 { // the others find that a number is missing, and that nobody has come
		c.note(news{Joins: alone})
	}
	for _, n := range list {
		if len(n.Joins)+len(n.Leaves) > 0 {
			n.Version = c.note(n)
			c.publish(n)
		}
	}
}

// note takes note of who is present here now, and returns its number.
func (c *crowd) note(n news) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range n.Joins {
		c.mine[one.Ref] = one
	}
	for _, ref := range n.Leaves {
		delete(c.mine, ref)
	}
	c.version++
	return c.version
}

func (c *crowd) publish(n news) {
	n.Instance = c.people.site.id
	if body, err := encode(n); err == nil {
		_ = c.people.site.conn.Publish(c.people.site.names.who(c.topic), body) // a reminder tells of what is lost
	}
}

// hear takes what another node announces.
func (c *crowd) hear(m *client.Msg) {
	var n news
	if err := json.Unmarshal(m.Data, &n); err != nil || n.Instance == c.people.site.id {
		return
	}
	if !c.line.add(step{size: len(m.Data), do: func() { c.apply(n) }}) {
		c.people.site.suspect()
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

// catchUp asks a node for all who are present on it, and again if it has gone on meanwhile. One that
// does not answer is asked when it is heard of: it may have been killed. It is a step of the line.
func (c *crowd) catchUp(n news) {
	was, busy := c.missing[n.Instance]
	c.missing[n.Instance] = max(was, n.Version)
	if busy {
		return
	}
	c.people.site.tasks.Go(func() {
		silent := map[string]bool{n.Instance: true}
		c.compare(c.people.site.names.listOf(n.Instance), silent)
		c.line.add(step{do: func() {
			version := c.missing[n.Instance]
			delete(c.missing, n.Instance)
			if len(silent) == 0 {
				c.apply(news{Instance: n.Instance, Version: version})
			}
		}})
	})
}

func (c *crowd) tell(change broker.Change) {
	if len(change.Joins)+len(change.Leaves) > 0 {
		c.people.changed(c.topic, change)
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

// compare asks for all who are present on other nodes, for a second at most. What is left of others
// has not answered.
func (c *crowd) compare(subject string, others map[string]bool) {
	within, cancel := context.WithTimeout(c.people.site.ctx, asking)
	defer cancel()
	c.ask(within, subject, others)
}

// ask asks who is present on other nodes, and returns when all have answered or ctx ends. Where
// it can't be asked it is when the connection is back.
func (c *crowd) ask(ctx context.Context, subject string, others map[string]bool) {
	_ = c.people.listFrom(ctx, subject, c.topic, others, func(instance string, version uint64, present map[string]broker.Present) {
		s := step{do: func() { c.set(instance, present, version) }, over: make(chan struct{})}
		c.line.add(s)
		select {
		case <-s.over:
		case <-ctx.Done():
		}
	})
}
