package clientsocket

import (
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// Drain is Close for a server that shuts down. A client of the chime dialect is
// sent m first, which says when to come back: on all connections, since which of
// them it listens to is its own decision, and may be under way. What is queued may take
// no longer than within, if that is less than after any other end.
func (c *ClientSocket) Drain(m *wire.Message, within time.Duration) {
	if within < endWait {
		var lines []Line
		c.mu.Lock()
		for n := range c.out.connections() {
			lines = append(lines, n.line)
		}
		c.mu.Unlock()
		for _, l := range lines {
			l.BoundWrites(within)
		}
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	for n := range c.out.connections() {
		if c.chime {
			n.sendControl(m)
		}
	}
	// Under the same lock: a poll that the first of them wakes takes both, and none has to
	// come for the end.
	c.end(wire.CloseDrain, "drain", transport.Drained)
	c.mu.Unlock()
	c.reportEnd()
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
