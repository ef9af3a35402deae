package clientsocket

import (
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// Drain is Close for a server that shuts down. A client of the chime dialect is
// sent m first, which says when to come back: on all connections, since which of
// them it listens to is its own decision, and may be under way.
func (c *ClientSocket) Drain(m *wire.Message) {
	if c.chime {
		c.mu.Lock()
		for n := range c.out.connections() {
			n.sendControl(m)
		}
		c.mu.Unlock()
	}
	c.Close(wire.CloseDrain, "drain", transport.Drained)
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
