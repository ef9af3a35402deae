package server_test

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// fault is what the network does to one connection. The zero value is nothing.
type fault struct {
	Up, Down int           // it breaks when so many bytes have got through from the client, or to it; 0 is never
	Delay    time.Duration // of all that is sent, either way
	Mute     bool          // when it breaks nobody is told: from then on all is lost
	mark     *mark         // notes what the connection carries; nil for nothing
}

// mark is what connections with the same fault have carried, until the network
// is mended.
type mark struct {
	mu       sync.Mutex // guards what follows
	up, down int        // bytes, of the connection with the most
	cut      bool       // one has broken
}

// note takes what one way of a connection has carried by now.
func (m *mark) note(up bool, bytes int, cut bool) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if up {
		m.up = max(m.up, bytes)
	} else {
		m.down = max(m.down, bytes)
	}
	m.cut = m.cut || cut
}

// carried returns the bytes that got through one way.
func (m *mark) carried(up bool) int {
	if up {
		return m.up
	}
	return m.down
}

// flaky is a network in memory whose connections break when they are told to.
// A write never waits: what was written is on its way until it is read.
type flaky struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu     sync.Mutex // guards what follows
	cables map[*cable]bool
	mended bool
}

func newFlaky() *flaky {
	return &flaky{conns: make(chan net.Conn), done: make(chan struct{}), cables: map[*cable]bool{}}
}

// Accept implements net.Listener.
func (n *flaky) Accept() (net.Conn, error) {
	select {
	case conn := <-n.conns:
		return conn, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (n *flaky) Close() error {
	n.once.Do(func() { close(n.done) })
	return nil
}

// Addr implements net.Listener.
func (n *flaky) Addr() net.Addr { return &net.UnixAddr{Name: "flaky", Net: "unix"} }

func (n *flaky) dial(f fault) (*plug, error) {
	n.mu.Lock()
	if n.mended {
		f = fault{}
	}
	c := &cable{fault: f, net: n}
	c.changed.L = &c.mu
	client, server := &c.ends[0], &c.ends[1]
	*client = plug{cable: c, peer: server, left: f.Up}
	*server = plug{cable: c, peer: client, left: f.Down}
	n.cables[c] = true
	n.mu.Unlock()
	select {
	case n.conns <- server:
		return client, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

// mend makes the network a good one: no connection breaks any more, but those
// that are mute, which break at last.
func (n *flaky) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mended = true
	for c := range n.cables {
		c.mu.Lock()
		c.ends[0].left, c.ends[1].left, c.Delay, c.mark = 0, 0, 0, nil
		if c.hole {
			c.tear(time.Now())
		}
		c.mu.Unlock()
	}
}

// end breaks all connections.
func (n *flaky) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.cables {
		c.mu.Lock()
		c.tear(time.Now())
		c.mu.Unlock()
	}
}

// cable is one connection. Its ends share a lock.
type cable struct {
	fault
	net  *flaky
	ends [2]plug // the client's, the server's

	mu      sync.Mutex // guards what follows, and what is in the ends
	changed sync.Cond
	hole    bool      // what is written is lost
	torn    time.Time // when it broke, zero before
}

// plug is an end of a cable.
type plug struct {
	cable    *cable
	peer     *plug
	in       []parcel // on its way to this end
	left     int      // bytes to be written before the cable breaks; 0 is any number
	written  int      // bytes that got through, since the last limit
	closed   bool
	deadline time.Time // of Read; a Write does not wait
	alarm    *time.Timer
}

// parcel is what one Write wrote, or the end if it has no bytes.
type parcel struct {
	at    time.Time // when it arrives
	bytes []byte
}

// Read implements net.Conn. What has arrived can be read though the cable is torn.
func (p *plug) Read(b []byte) (int, error) {
	c := p.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case p.closed:
			return 0, net.ErrClosed
		case !p.deadline.IsZero() && !now.Before(p.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(p.in) > 0 && !now.Before(p.in[0].at) && len(p.in[0].bytes) == 0:
			return 0, io.EOF
		case len(p.in) > 0 && !now.Before(p.in[0].at):
			n := copy(b, p.in[0].bytes)
			if p.in[0].bytes = p.in[0].bytes[n:]; len(p.in[0].bytes) == 0 {
				p.in = p.in[1:]
			}
			return n, nil
		case c.isTorn(now):
			return 0, syscall.ECONNRESET
		}
		c.changed.Wait()
	}
}

// Write implements net.Conn.
func (p *plug) Write(b []byte) (int, error) {
	c := p.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	switch now := time.Now(); {
	case p.closed:
		return 0, net.ErrClosed
	case c.isTorn(now):
		return 0, syscall.EPIPE
	case p.peer.closed:
		return 0, syscall.EPIPE
	case c.hole, !c.torn.IsZero(), len(b) == 0: // it is lost
	case p.left > 0 && len(b) >= p.left:
		p.written += p.left
		c.mark.note(p == &c.ends[0], p.written, true)
		c.carry(p.peer, b[:p.left])
		if c.Mute {
			c.hole = true
		} else {
			c.tear(now.Add(c.Delay))
		}
	default:
		if p.left > 0 {
			p.left -= len(b)
		}
		p.written += len(b)
		c.mark.note(p == &c.ends[0], p.written, false)
		c.carry(p.peer, b)
	}
	return len(b), nil
}

// carry puts bytes, or the end, on their way. c.mu is held.
func (c *cable) carry(to *plug, b []byte) {
	to.in = append(to.in, parcel{time.Now().Add(c.Delay), append([]byte(nil), b...)})
	c.ring(c.Delay)
}

// tear breaks the cable at a time. c.mu is held.
func (c *cable) tear(at time.Time) {
	if c.torn.IsZero() || at.Before(c.torn) {
		c.torn = at
	}
	c.ring(time.Until(at))
}

func (c *cable) isTorn(now time.Time) bool { return !c.torn.IsZero() && !now.Before(c.torn) }

// ring wakes who reads, after a while. c.mu is held.
func (c *cable) ring(after time.Duration) *time.Timer {
	if after <= 0 {
		c.changed.Broadcast()
		return nil
	}
	return time.AfterFunc(after, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})
}

// kill breaks the connection now. What has not been read is lost.
func (p *plug) kill() {
	c := p.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends[0].in, c.ends[1].in = nil, nil
	c.tear(time.Now())
}

// mute loses all that is written from now on, and tells nobody.
func (p *plug) mute() {
	c := p.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hole = true
}

// limit lets so many more bytes through each way; 0 is any number.
func (p *plug) limit(f fault) {
	c := p.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault, c.ends[0].left, c.ends[1].left = f, f.Up, f.Down
	c.ends[0].written, c.ends[1].written = 0, 0
}

// Close implements net.Conn. What is on its way to the other end arrives.
func (p *plug) Close() error {
	c := p.cable
	c.mu.Lock()
	if p.closed {
		c.mu.Unlock()
		return nil
	}
	p.closed = true
	if p.alarm != nil {
		p.alarm.Stop()
	}
	if !c.hole {
		c.carry(p.peer, nil)
	}
	c.changed.Broadcast()
	both := p.peer.closed
	c.mu.Unlock()
	if both {
		c.net.mu.Lock()
		delete(c.net.cables, c)
		c.net.mu.Unlock()
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (p *plug) SetReadDeadline(at time.Time) error {
	c := p.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.alarm != nil {
		p.alarm.Stop()
	}
	p.deadline, p.alarm = at, nil
	if !at.IsZero() && !p.closed {
		p.alarm = c.ring(time.Until(at))
	}
	return nil
}

// SetWriteDeadline implements net.Conn.
func (p *plug) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.Conn.
func (p *plug) SetDeadline(at time.Time) error { return p.SetReadDeadline(at) }

// LocalAddr implements net.Conn.
func (p *plug) LocalAddr() net.Addr { return p.cable.net.Addr() }

// RemoteAddr implements net.Conn.
func (p *plug) RemoteAddr() net.Addr { return p.cable.net.Addr() }
