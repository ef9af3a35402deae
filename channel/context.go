package channel

import (
	"context"
	"sync"
	"time"
)

// socketContext is the context of a socket's handlers: it has the values of the
// request that opened the client socket, and an end of its own, when the socket
// leaves. A context of the standard library would be two objects more for each
// client in each topic, for an end that few handlers wait for.
type socketContext Socket

// ending is how a socketContext ends.
type ending struct {
	mu    sync.Mutex // guards what follows
	over  bool
	done  chan struct{}        // made when somebody asks for it
	after map[*func()]struct{} // called at the end, for derived contexts
}

// cancel ends the context. It may be called more than once.
func (e *ending) cancel() {
	e.mu.Lock()
	after := e.after
	if !e.over && e.done != nil {
		close(e.done)
	}
	e.over, e.after = true, nil
	e.mu.Unlock()
	for f := range after {
		(*f)()
	}
}

// Deadline implements context.Context.
func (*socketContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (c *socketContext) Done() <-chan struct{} {
	e := &c.ending
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done == nil {
		e.done = make(chan struct{})
		if e.over {
			close(e.done)
		}
	}
	return e.done
}

// Err implements context.Context.
func (c *socketContext) Err() error {
	c.ending.mu.Lock()
	defer c.ending.mu.Unlock()
	if c.ending.over {
		return context.Canceled
	}
	return nil
}

// Value implements context.Context.
func (c *socketContext) Value(key any) any { return c.inbox.client.cs.Context().Value(key) }

// AfterFunc is what package context looks for, so that a context derived from
// this one needs no goroutine to see it end.
func (c *socketContext) AfterFunc(f func()) (stop func() bool) {
	e := &c.ending
	e.mu.Lock()
	over := e.over
	if !over {
		if e.after == nil {
			e.after = map[*func()]struct{}{}
		}
		e.after[&f] = struct{}{}
	}
	e.mu.Unlock()
	if over {
		// Not here: the caller holds the lock of the derived context, which f takes.
		c.inbox.client.hub.tasks.Go(f)
	}
	return func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		_, waits := e.after[&f]
		delete(e.after, &f)
		return waits
	}
}

// String keeps a log of a context short.
func (c *socketContext) String() string { return "channel context of " + (*Socket)(c).String() }
