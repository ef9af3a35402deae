package clientsocket

import (
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// Finish is Drain if all that the client has sent has been answered, and then returns nil.
// Else it returns what is closed when that may be so. From now on the client is on
// its way: of one of the chime dialect no more counted frame is taken, since Drain tells it
// how many were, and it sends the others again to where it comes next. What a client of
// another dialect goes on to send is answered too. Handlers is what Receiver.Finish is given.
func (c *ClientSocket) Finish(handlers time.Duration, retryMS int64, within time.Duration) <-chan struct{} {
	c.in.mu.Lock()
	if answered := c.in.finish(handlers); answered != nil {
		c.in.mu.Unlock()
		return answered
	}
	c.drain(retryMS, within)
	return nil
}

// Drain is Close for a server that shuts down. A client of the chime dialect is
// told first when to come back, and how many of its frames were taken: on all connections,
// since which of them it listens to is its own decision, and may be under way. What is queued
// may take no longer than within, if that is less than after any other end.
func (c *ClientSocket) Drain(retryMS int64, within time.Duration) {
	c.in.mu.Lock()
	c.drain(retryMS, within)
}

// drain is Drain. How many were taken is told in the step that takes no more: one that was
// taken after that would be sent again, and handled twice. in.mu is held, and released.
func (c *ClientSocket) drain(retryMS int64, within time.Duration) {
	c.mu.Lock()
	lines, ends := c.part(wire.NewDrain(retryMS, c.in.received.Load()))
	c.mu.Unlock()
	c.in.mu.Unlock()
	if !ends {
		return
	}
	if within < endWait {
		for _, l := range lines {
			l.BoundWrites(within)
		}
	}
	c.reportEnd()
}

// part ends c, whose client is told m first if it is of the chime dialect, and returns the
// lines of its connections. It reports false if c has ended before. c.mu is held.
func (c *ClientSocket) part(m *wire.Message) (lines []Line, ends bool) {
	if c.ended {
		return nil, false
	}
	for n := range c.out.connections() {
		lines = append(lines, n.line)
		if c.chime {
			n.sendControl(m)
		}
	}
	// Under the same lock: a poll that the first of them wakes takes both, and none has to
	// come for the end.
	c.end(wire.CloseDrain, "drain", transport.Drained)
	return lines, true
}

// finish takes no more than was taken, and returns nil if that has been answered, or what is
// closed when it has. mu is held.
func (in *inbound) finish(handlers time.Duration) <-chan struct{} {
	if in.receiver == nil {
		return nil
	}
	in.finishing = in.c.chime
	return in.receiver.Finish(handlers)
}

// Connected reports whether there is anybody to tell of an end.
func (c *ClientSocket) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	for range c.out.connections() {
		return true
	}
	return false
}

// Posts reports whether the frames of the client come in requests of their own, for
// which a server that shuts down may have no listener any more.
func (c *ClientSocket) Posts() bool { return c.chime && c.Transport() != transport.WebSocket }
