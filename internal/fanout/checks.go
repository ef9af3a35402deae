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
	tasks *task.Group
	tops  broker.Tops // nil: the history is read for each topic

	mu      sync.Mutex // guards the rest; taken with a topic's lock held, and no other after it
	waiting []*reader
	running int
}

const (
	// maxChecks is how many topics are looked into at one time, or lists of topics where
	// the history can look at many.
	maxChecks = 8
	// maxTops is how many topics are in such a list.
	maxTops = 256
)

// NewChecks returns one for a history, whose goroutines are tasks.
func NewChecks(h broker.History, tasks *task.Group) *Checks {
	c := &Checks{tasks: tasks}
	c.tops, _ = h.(broker.Tops)
	return c
}

// add has r look. It does not block.
func (c *Checks) add(r *reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, r)
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

// look has a list of readers look, at once as far as that can be.
func (c *Checks) look(list []*reader) {
	var together, alone []*reader
	var names []string
	for _, r := range list {
		if c.tops == nil || !r.begin() { // something is read for the topic
			alone = append(alone, r)
			continue
		}
		together, names = append(together, r), append(names, r.topic.name)
	}
	if len(together) > 0 {
		c.lookAtAll(together, names)
	}
	for _, r := range alone {
		r.look()
	}
}

// lookAtAll has readers that have begun a look end it.
func (c *Checks) lookAtAll(together []*reader, names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	tops, err := c.tops.Tops(ctx, names)
	cancel()
	if err == nil && len(tops) != len(names) {
		err = fmt.Errorf("tops of %d topics: got %d", len(names), len(tops))
	}
	for i, r := range together {
		if err != nil {
			r.end(store.Position{}, err)
		} else {
			r.end(tops[i], nil)
		}
	}
}

// next takes out those that have waited longest. Without any the caller stops running.
func (c *Checks) next() []*reader {
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
