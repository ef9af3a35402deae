// Package clientsocket carries the frames of clients, whatever their connections
// are. A [ClientSocket] outlives its connections: it has one that carries it, or
// none for a while, and others that may come to carry it. How bytes look and how
// they get out is each connection's [Line]; the package knows no HTTP, no dialect
// and no topic.
//
// Each part has one job:
//
//   - ClientSocket is what the channel side sees: it sends, and it ends.
//   - inbound hands frames from the client to the receiver, each once, in order.
//   - outbound has the queue, and knows which connection takes from it.
//   - credentials say which secrets are good, and what each has been given to.
//   - grace is the time that a client socket may be without a connection.
//   - Connection lives and dies; its outlet decides who writes to it, and what.
//   - Registry finds client sockets, and closes the door when the server drains.
package clientsocket

import (
	"context"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/flush"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// ClientSocket is the transport.ClientSocket behind all transports. The zero
// value is what Clients.Open makes one of.
type ClientSocket struct {
	id      string
	who     string // Identity.ID
	value   any    // Identity.Value
	expires expiry
	chime   bool // speaks the chime dialect: hello, numbers, positions
	dialect stats.Dialect
	keeps   bool   // what is written until it is acknowledged, since the client may resume
	ended   bool   // nothing more is queued; guarded by mu, and here since it takes no room
	acked   uint32 // the last number that was acknowledged, its lower half; the same
	ctx     context.Context
	clients *Clients
	flusher *flush.Flusher
	in      inbound

	// mu guards what follows, and the outlets of all connections of the client
	// socket: what is queued and who writes it is decided in one step, so that
	// fan-out takes one short lock. It is held for memory operations only.
	mu  sync.Mutex
	why transport.Reason // of the end
	out outbound
}

var _ transport.ClientSocket = (*ClientSocket)(nil)

// ID implements transport.ClientSocket.
func (c *ClientSocket) ID() string { return c.id }

// Context implements transport.ClientSocket.
func (c *ClientSocket) Context() context.Context { return c.ctx }

// Identity implements transport.ClientSocket.
func (c *ClientSocket) Identity() transport.Identity {
	return transport.Identity{ID: c.who, Value: c.value, Expires: c.expires.time()}
}

// Transport implements transport.ClientSocket.
func (c *ClientSocket) Transport() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.credentials.by.String()
}

// Refresh takes the expiry of an identity that has been shown again.
func (c *ClientSocket) Refresh(expires time.Time) { c.expires.set(expires) }

// Heard takes note of a sign of life that came with secret, if that is of the
// connection that carries c.
func (c *ClientSocket) Heard(secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.carrier != nil && posts(c.out.credentials.by) && secret == c.out.credentials.current {
		c.out.carrier.Heard()
	}
}

// Send implements transport.ClientSocket. It is the fan-out path: two short
// locks, no allocation but the growth of the queue.
func (c *ClientSocket) Send(m *wire.Message, to string) error {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return transport.ErrClosed
	}
	n := c.out.carrier
	if c.chime && !m.Counted() {
		if n != nil {
			n.sendControl(m)
		}
		c.mu.Unlock()
		return nil
	}
	it := queue.Item{M: m, To: to}
	if bytes := c.out.room(); !c.out.queue.Fits(it, bytes) {
		cause := stats.SlowQueue
		if bytes < c.clients.config.Limits.QueueBytes {
			cause = stats.SlowTotal
		}
		slow := c.slow(cause)
		slow.Allowed = bytes
		c.out.queue.Clear()
		c.end(wire.CloseSlow, "too slow", transport.Slow)
		c.mu.Unlock()
		// Send may be called under locks of the channel side, Receiver.Closed may not.
		c.clients.config.Tasks.Go(func() {
			if n != nil {
				n.line.BoundWrites(closeWait)
			}
			c.tellSlow(slow)
			c.reportEnd()
		})
		return transport.ErrSlow
	}
	c.put(it)
	return nil
}

// Offer implements transport.ClientSocket.
func (c *ClientSocket) Offer(m *wire.Message, to string) bool {
	it := queue.Item{M: m, To: to}
	c.mu.Lock()
	if c.ended || !c.out.offers(it) {
		defer c.mu.Unlock()
		return c.ended
	}
	c.put(it)
	return true
}

// put queues it and has it written. c.mu is held, and released.
func (c *ClientSocket) put(it queue.Item) {
	c.out.queue.Push(it)
	n := c.out.carrier
	wake := n != nil && n.out.wake()
	c.mu.Unlock()
	if wake {
		c.flusher.Add(&n.out)
	}
}

// Ready implements transport.ClientSocket.
func (c *ClientSocket) Ready(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.out.hasRoom() {
		return true // at the end Send says so
	}
	c.out.ready = f
	return false
}

// Close implements transport.ClientSocket.
func (c *ClientSocket) Close(code wire.CloseCode, reason string, why transport.Reason) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.end(code, reason, why)
	c.mu.Unlock()
	c.reportEnd()
}

// Bye ends c for a client that says goodbye.
func (c *ClientSocket) Bye() { c.Close(wire.CloseNormal, "bye", transport.Closed) }

// CloseWith is Close if secret is good for c.
func (c *ClientSocket) CloseWith(secret string, code wire.CloseCode, reason string, why transport.Reason) {
	c.mu.Lock()
	good := c.out.credentials.good(secret)
	c.mu.Unlock()
	if good {
		c.Close(code, reason, why)
	}
}

// Goodbye is CloseWith for a client that says so, which does not poll for the farewell.
func (c *ClientSocket) Goodbye(secret string) {
	c.CloseWith(secret, wire.CloseNormal, "bye", transport.Closed)
	c.mu.Lock()
	n, unread := c.out.carrier, false
	if c.ended && n != nil {
		n.out.left = true
		unread = n.unread()
	}
	c.mu.Unlock()
	if unread {
		n.Abort(transport.Closed)
	}
}

// end ends the client socket and closes all its connections; reportEnd must
// follow, without c.mu. The first reason counts: the client may answer with a
// close of its own before the receiver is told. c.mu is held.
func (c *ClientSocket) end(code wire.CloseCode, reason string, why transport.Reason) {
	if c.ended {
		return
	}
	c.ended, c.why = true, why
	counted := c.clients.config.Stats
	counted.Ended(c.out.credentials.by, c.dialect, string(why))
	if c.out.carrier == nil {
		counted.Detached(-1)
	}
	for n := range c.out.connections() {
		n.out.close(code, reason)
	}
	if c.out.carrier == nil {
		c.out.queue.Clear() // nothing is written any more
	}
	c.out.grace.stop()
}

// slow counts c as slow; tellSlow is to follow, without c.mu, which is held.
func (c *ClientSocket) slow(cause stats.Slow) Slowness {
	c.clients.config.Stats.Slow.Add(cause)
	return Slowness{Cause: cause, Waiting: c.out.queue.WaitingBytes(), Taken: c.clients.budget.Taken()}
}

// tellSlow says what c was too slow for.
func (c *ClientSocket) tellSlow(s Slowness) {
	if tell := c.clients.config.Slow; tell != nil {
		tell(c, s)
	}
}

// reportEnd tells the receiver of the end, once, and has the client socket
// forgotten. It must not be called under locks of the channel side.
func (c *ClientSocket) reportEnd() {
	c.mu.Lock()
	why, secrets := c.why, c.out.credentials.all() // after the end there are no new ones
	if n := c.out.carrier; n != nil && n.out.awaits() {
		secrets = secrets[1:] // the current one
	}
	var connections, unread []*Connection
	for n := range c.out.connections() {
		if n.unread() {
			unread = append(unread, n)
		} else {
			connections = append(connections, n)
		}
	}
	ready := c.out.takeReady()
	c.mu.Unlock()
	if c.clients.Registry.remove(c, secrets) {
		for _, n := range connections {
			n.line.BoundWrites(c.clients.endWait()) // a trickling reader must not hold up a Shutdown; the first bound counts
		}
		for _, n := range unread {
			n.Abort(transport.Closed)
		}
		c.in.close(why)
	}
	if ready != nil { // whoever waits for room finds that there is nothing to do: the receiver knows of the end
		ready()
	}
}
