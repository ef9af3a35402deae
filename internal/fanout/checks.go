package fanout

import (
	"sync"

	"github.com/go-chime/chime/internal/task"
)

// Checks looks for announcements that are missing, in a few topics at one time: a
// broker that has lost a connection may have lost those of all topics, and the
// history must not be read for all of them at once.
type Checks struct {
	tasks *task.Group

	mu      sync.Mutex // guards the rest; taken with a topic's lock held, and no other after it
	waiting []*reader
	running int
}

// maxChecks is how many topics are looked into at one time.
const maxChecks = 8

// NewChecks returns one whose goroutines are tasks.
func NewChecks(tasks *task.Group) *Checks { return &Checks{tasks: tasks} }

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
	for r := c.next(); r != nil; r = c.next() {
		r.look()
	}
}

// next takes out what has waited longest. Without any the caller stops running.
func (c *Checks) next() *reader {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.waiting = nil
		c.running--
		return nil
	}
	r := c.waiting[0]
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	return r
}
