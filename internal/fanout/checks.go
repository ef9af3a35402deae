package fanout

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
)

// Checks looks for announcements that are missing, in a few topics at one time: a
// broker that has lost a connection may have lost those of all topics, and the
// history must not be read for all of them at once.
type Checks struct {
	ctx   context.Context // of the reads
	tasks *task.Group
	tops  broker.Tops // nil: the history is read for each topic

	mu      sync.Mutex // guards the rest; taken with a topic's lock held, and no other after it
	waiting []*lookout
	running int
}

const (
	// maxChecks is how many topics are looked into at one time, or lists of topics where
	// the history can look at many.
	maxChecks = 8
	// maxTops is how many topics are in such a list.
	maxTops = 256
)

// NewChecks returns one for a history, whose goroutines are tasks. When ctx ends nothing is
// read any more.
func NewChecks(ctx context.Context, h broker.History, tasks *task.Group) *Checks {
	c := &Checks{ctx: ctx, tasks: tasks}
	c.tops, _ = h.(broker.Tops)
	return c
}

// add has l look. It does not block.
func (c *Checks) add(l *lookout) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, l)
	if c.running < maxChecks {
		c.running++
		c.tasks.Go(c.run)
	}
}

func (c *Checks) run() {
	for list := c.next(); list != nil; list = c.next() {
		c.look(list)
	}
}

// look has each of a list look, at once as far as that can be.
func (c *Checks) look(list []*lookout) {
	var together, alone []*lookout
	var names []string
	for _, l := range list {
		if c.tops == nil || !l.begin() { // something is read for the topic
			alone = append(alone, l)
			continue
		}
		together, names = append(together, l), append(names, l.feed.topic)
	}
	if len(together) > 0 {
		c.lookAtAll(together, names)
	}
	for _, l := range alone {
		l.look()
	}
}

// lookAtAll has those that have begun a look end it.
func (c *Checks) lookAtAll(together []*lookout, names []string) {
	ctx, cancel := context.WithTimeout(c.ctx, lookFor)
	tops, err := c.tops.Tops(ctx, names)
	cancel()
	if err == nil && len(tops) != len(names) {
		err = fmt.Errorf("tops of %d topics: got %d", len(names), len(tops))
	}
	for i, l := range together {
		if err != nil {
			l.end(store.Position{}, err)
		} else {
			l.end(tops[i], nil)
		}
	}
}

// next takes out those that have waited longest. Without any the caller stops running.
func (c *Checks) next() []*lookout {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.waiting = nil
		c.running--
		return nil
	}
	n := 1
	if c.tops != nil {
		n = min(len(c.waiting), maxTops)
	}
	list := slices.Clone(c.waiting[:n])
	clear(c.waiting[:n])
	c.waiting = c.waiting[n:]
	return list
}
