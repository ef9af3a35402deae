package server

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// client is the ClientSocket behind both transports. It owns the queue and the
// numbers, and outlives the connections that carry them.
type client struct {
	id       string
	who      string       // Identity.ID
	value    any          // Identity.Value
	expires  atomic.Int64 // Unix ns; 0 is never
	chime    bool         // speaks the chime dialect: hello, numbers, positions
	keeps    bool         // what is written until it is acknowledged, since the client may resume
	ended    bool         // nothing more is queued; guarded by mu
	stream   bool         // the connection promoted last is or was one; guarded by mu
	told     bool         // the receiver has been told; guarded by upstream
	ctx      context.Context
	server   *Server
	flusher  *flusher
	receiver transport.Receiver

	mu     sync.Mutex  // guards what follows; held for memory operations only, never over I/O
	conn   *connection // the one promoted last; nil while the client is detached
	secret string
	queue  queue
	rare   *rare

	upstream sync.Mutex    // guards receiver, told, connection.up and changes of received, and orders the calls of the receiver
	received atomic.Uint64 // counted frames taken from the client
}

// rare is what few clients have, and each only at the end.
type rare struct {
	why      transport.Reason // of the end
	waiting  []func()         // Ready's callers
	issued   []issued         // secrets newer than the current one, the one used last at the end
	hellos   int              // of candidates, ever
	grace    *time.Timer      // of a detached client
	detached int              // how often it has been
	until    time.Time        // when it is gone
}

// uncommon returns c.rare, made if need be. c.mu is held.
func (c *client) uncommon() *rare {
	if c.rare == nil {
		c.rare = &rare{}
	}
	return c.rare
}

func (c *client) ID() string               { return c.id }
func (c *client) Context() context.Context { return c.ctx }

func (c *client) Identity() transport.Identity {
	return transport.Identity{ID: c.who, Value: c.value, Expires: c.expiry()}
}

func (c *client) Transport() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream {
		return transport.SSE
	}
	return transport.WebSocket
}

// expiry returns when the identity expires; zero is never.
func (c *client) expiry() time.Time {
	if at := c.expires.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// refresh takes the expiry of an identity that has been shown again.
func (c *client) refresh(expires time.Time) {
	at := int64(0)
	switch {
	case expires.IsZero(), expires.Unix() >= math.MaxInt64/int64(time.Second): // in the year 2262; nanoseconds go no further
	case expires.Unix() <= 0:
		at = 1 // 0 would be never
	default:
		at = expires.UnixNano()
	}
	c.expires.Store(at)
}

// Send implements ClientSocket. It is the fan-out path: two short locks, no
// allocation but the growth of the queue.
func (c *client) Send(m *wire.Message, to string) error {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return transport.ErrClosed
	}
	n := c.conn
	if c.chime && !m.Counted() {
		if n != nil {
			n.sendControl(m)
		}
		c.mu.Unlock()
		return nil
	}
	it := item{m, to}
	if !c.fits(it) {
		c.queue.clear()
		c.end(wire.CloseSlow, "too slow", transport.Slow)
		c.mu.Unlock()
		// Send may be called under locks of the channel side, Receiver.Closed may not.
		c.server.tasks.Go(func() {
			if n != nil {
				n.line.hurry(hangUpWait)
			}
			c.tellEnd()
		})
		return transport.ErrSlow
	}
	c.put(it)
	return nil
}

// Offer implements ClientSocket.
func (c *client) Offer(m *wire.Message, to string) bool {
	c.mu.Lock()
	it := item{m, to}
	switch {
	case c.ended:
		c.mu.Unlock()
		return true
	case !c.fits(it):
		c.mu.Unlock()
		return false
	}
	c.put(it)
	return true
}

// fits reports whether the queue has room for it. One item always fits into an
// empty queue. c.mu is held.
func (c *client) fits(it item) bool {
	limits := &c.server.limits
	waiting := c.queue.waiting()
	return waiting == 0 || waiting < limits.QueueMessages && c.queue.bytes+it.size() <= limits.QueueBytes
}

// put queues it and has it written. c.mu is held, and released.
func (c *client) put(it item) {
	c.queue.push(it)
	n := c.conn
	wake := n != nil && n.wake()
	c.mu.Unlock()
	if wake {
		c.flusher.add(n)
	}
}

// Ready implements ClientSocket.
func (c *client) Ready(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.hasRoom() {
		return true // at the end Send says so
	}
	r := c.uncommon()
	r.waiting = append(r.waiting, f)
	return false
}

// hasRoom leaves most of the queue to what happens live. c.mu is held.
func (c *client) hasRoom() bool {
	limits := &c.server.limits
	return c.queue.bytes <= limits.QueueBytes/4 && c.queue.waiting() <= limits.QueueMessages/4
}

// takeWaiting returns Ready's callers when there is room again. c.mu is held.
func (c *client) takeWaiting() []func() {
	if c.rare == nil || c.rare.waiting == nil || !c.ended && !c.hasRoom() {
		return nil
	}
	waiting := c.rare.waiting
	c.rare.waiting = nil
	return waiting
}

func call(fs []func()) {
	for _, f := range fs {
		f()
	}
}

// Close implements ClientSocket.
func (c *client) Close(code wire.CloseCode, reason string, why transport.Reason) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.end(code, reason, why)
	c.mu.Unlock()
	c.tellEnd()
}

// end marks the end of the client, which all connections are told; tellEnd must
// follow, without c.mu. The first reason counts: the client may answer with an
// end of its own before the receiver is told. c.mu is held.
func (c *client) end(code wire.CloseCode, reason string, why transport.Reason) {
	c.ended, c.uncommon().why = true, why
	for _, n := range c.connections() {
		n.finish(code, reason)
	}
	c.stopGrace()
}

// sendControl tells all connections: which of them the client hears is its own
// decision, and may be under way.
func (c *client) sendControl(m *wire.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.connections() {
		n.sendControl(m)
	}
}

// connections returns all that the client has. c.mu is held.
func (c *client) connections() []*connection {
	var list []*connection
	if c.conn != nil {
		list = append(list, c.conn)
	}
	if c.rare != nil {
		for _, is := range c.rare.issued {
			if is.conn != nil {
				list = append(list, is.conn)
			}
		}
	}
	return list
}

// tellEnd tells the receiver, once, and forgets the client. It is called after
// end, and not under locks of the channel side.
func (c *client) tellEnd() {
	if !c.server.forget(c) {
		return
	}
	c.mu.Lock()
	why := c.rare.why
	connections := c.connections()
	waiting := c.takeWaiting()
	c.mu.Unlock()
	for _, n := range connections {
		n.line.hurry(endWait) // a trickling reader must not hold up a Shutdown; the first to hurry counts
	}
	call(waiting)
	tell := func() {
		defer c.upstream.Unlock()
		c.told = true
		c.receiver.Closed(why)
		c.server.tasks.Done()
	}
	if c.upstream.TryLock() {
		tell()
		return
	}
	c.server.tasks.Go(func() { // the receiver may have called Close itself, from Receive
		c.upstream.Lock()
		tell()
	})
}
