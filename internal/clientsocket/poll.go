package clientsocket

import (
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// A client that polls has a connection that lives between its requests. What there is
// to write waits in the queue until the client asks for it, and is kept until its next
// poll acknowledges it: a poll says how much the client has, and is answered from there.
// So a reply that was lost is given again.

// Poll is one request for what there is to write to a client. It is parked while there
// is nothing. A connection has one at a time, the last that came.
type Poll struct {
	Woken    chan struct{} // has a token when Fetch is to be called again
	received uint64
}

// NewPoll returns a poll of a client that has received so many frames.
func NewPoll(received uint64) *Poll { return &Poll{make(chan struct{}, 1), received} }

// wake has whoever waits for p call Fetch.
func (p *Poll) wake() {
	if p == nil {
		return
	}
	select {
	case p.Woken <- struct{}{}:
	default:
	}
}

// Polled returns the connection that is polled with secret, which the next poll goes on
// with or promotes, or nil.
func (c *ClientSocket) Polled(secret string) *Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.polledWith(secret)
}

// Secret returns the one that n is polled with.
func (n *Connection) Secret() string {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.out.credentials.current
}

// Poll takes p, and returns the connection that is to answer it, or nil if the secret is
// good for a resume only. The error is ErrUnknown or ErrBeyond. A poll that takes the place
// of another, or is given again what one was given, counts as a frame.
func (c *ClientSocket) Poll(p *Poll, secret string) (*Connection, error) {
	c.in.mu.Lock() // for a promotion
	defer c.in.mu.Unlock()
	n, again, err := c.poll(p, secret)
	if again {
		c.in.waste(1, 0)
	}
	return n, err
}

func (c *ClientSocket) poll(p *Poll, secret string) (n *Connection, again bool, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := &c.out
	n = o.polledWith(secret)
	switch {
	case n == nil && (c.ended || !o.credentials.good(secret)):
		return nil, true, ErrUnknown
	case n == nil:
		return nil, false, nil
	case n != o.carrier:
		if err := o.promote(o.credentials.of(n), p.received); err != nil {
			return nil, true, err
		}
	case p.received < o.queue.Forgotten():
		return n, true, nil // one that was held up on its way: a later one has been answered
	default:
		if err := o.acknowledge(p.received); err != nil {
			return nil, true, err
		}
		again = n.out.poll != nil || o.queue.At() > p.received
		o.queue.Rewind()
	}
	n.attend(p)
	return n, again, nil
}

// polledWith returns the connection that is polled with secret, or nil. A client socket
// that has ended says so to the last poll.
func (o *outbound) polledWith(secret string) *Connection {
	if n := o.carrier; secret == o.credentials.current {
		if n != nil && n.out.polled && !n.out.over {
			return n
		}
		return nil
	}
	if i := o.credentials.find(secret); i >= 0 && !o.c.ended {
		if is := o.credentials.issued[i]; is.candidate() && is.conn.out.polled {
			return is.conn
		}
	}
	return nil
}

// Attend has n answer p, and no other poll before it.
func (n *Connection) Attend(p *Poll) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.attend(p)
}

// attend is Attend. c.mu is held.
func (n *Connection) attend(p *Poll) {
	n.Heard()
	n.out.poll.wake()
	n.out.poll = p
	n.out.rest()
}

// Leave takes note that p is not waited for any more.
func (n *Connection) Leave(p *Poll) {
	n.c.mu.Lock()
	if n.out.poll == p {
		n.out.poll = nil
		n.out.rest()
	}
	unread := n.unread()
	n.c.mu.Unlock()
	if unread {
		n.Abort(transport.Closed)
	}
}

// unread reports whether the farewell waits for a poll that will not come: the client has said
// goodbye, or the connection does not carry it, so that a poll with its secret goes to another
// connection, or to none. c.mu is held.
func (n *Connection) unread() bool {
	return n.out.waits() && (n.out.left || n != n.c.out.carrier)
}

// waits reports whether the farewell is there, and no poll that takes it. c.mu is held.
func (o *outlet) waits() bool { return o.awaits() && o.poll == nil }

// Fetched is what has become of a poll.
type Fetched int

// Parked is a poll for which there is nothing yet; Answered one that has what there was;
// Replaced one whose place another has taken; Aborted one whose connection was.
const (
	Parked Fetched = iota
	Answered
	Replaced
	Aborted
)

// Reply is what there was for a poll: what comes after the counted frame with one number,
// up to that with another.
type Reply struct {
	Frames    []byte
	After, To uint64
}

// Fetch gives r what there is to write in answer to p, behind the Frames that it has. If
// there is nothing p is parked, or if it is late answered with a heartbeat, in the dialects
// that have one, and counts as a frame.
func (n *Connection) Fetch(p *Poll, r *Reply, late bool) Fetched {
	c, o := n.c, &n.out
	r.After, r.To = p.received, p.received
	c.mu.Lock()
	switch {
	case o.poll != p:
		c.mu.Unlock()
		return Replaced
	case o.over:
		o.poll = nil
		c.mu.Unlock()
		return Aborted
	case !o.due() && !late:
		o.writing, o.blocked = false, false
		c.mu.Unlock()
		return Parked
	}
	o.poll = nil
	o.rest()
	idle := !o.due()
	if idle && c.chime {
		n.sendControl(wire.NewHeartbeat(c.out.queue.Sent(), c.in.received.Load()))
	}
	if c.out.carrier == n {
		r.After = c.out.queue.At()
	}
	r.Frames = o.take(r.Frames)
	if c.out.carrier == n && !o.over {
		r.To = c.out.queue.At()
	}
	over, ended, ready := o.over, c.ended, c.out.takeReady()
	c.mu.Unlock()
	if ready != nil {
		ready()
	}
	if idle {
		n.Spend(0)
	}
	if over {
		n.line.Close()
		if ended {
			c.reportEnd() // the secret is of no use any more
		}
	}
	return Answered
}

// rest takes note that no poll is parked: whoever has something to write need not wake
// anybody but a Wait, and what waits is bounded as for a connection that takes nothing.
// c.mu is held, or nobody knows o yet.
func (o *outlet) rest() { o.writing, o.blocked = o.n.c == nil || o.n.c.out.wait == nil, true }

// awaits reports whether the farewell is there and its client has yet to poll for it.
func (o *outlet) awaits() bool { return o.polled && !o.over }
