package redis

import (
	"errors"
	"sync"
)

// readers is how many topics are read at one time: after a connection was lost it is all.
const readers = 32

// census reads who is present in the topics that this node has subscribed to, when one begins or has
// missed a change.
type census struct {
	engine *engine

	mu      sync.Mutex // guards what follows
	waiting []*order   // whose topics are to be read
	running int        // how many goroutines read
}

// add has o see who is present. It does not block.
func (c *census) add(o *order) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, o)
	if c.running < readers && c.engine.ctx.Err() == nil {
		c.running++
		c.engine.tasks.Go(c.run)
	}
}

// next takes one out. Without any the caller stops running.
func (c *census) next() *order {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 || c.engine.ctx.Err() != nil {
		c.waiting = nil
		c.running--
		return nil
	}
	o := c.waiting[0]
	c.waiting[0] = nil // it must not outlive its place
	c.waiting = c.waiting[1:]
	return o
}

func (c *census) run() {
	tries := 0
	for o := c.next(); o != nil; o = c.next() {
		if o.over() {
			continue
		}
		s, err := c.engine.presentIn(c.engine.ctx, o.topic)
		if err == nil {
			o.see(s)
			tries = 0
			continue
		}
		if tries == 0 && (kindOf(err) == fatal || errors.Is(err, errForm)) {
			c.engine.log.Error("broker/redis: who is present can't be read", "topic", o.topic, "error", err)
		}
		c.mu.Lock()
		c.waiting = append(c.waiting, o)
		c.mu.Unlock()
		_ = pause(c.engine.ctx, tries) // at its end the loop ends too
		tries++
	}
}
