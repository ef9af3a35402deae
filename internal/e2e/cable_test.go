package e2e

import (
	"net"
	"sync"
	"testing"
)

// cable is the network between clients and a server: what goes in at addr comes
// out there, until it is cut.
type cable struct {
	addr     string
	to       string
	listener net.Listener
	tasks    sync.WaitGroup

	mu      sync.Mutex
	ends    map[net.Conn]fate
	broken  bool // new connections fail
	hanging int  // so many new connections are taken, and dead
}

// fate is what became of one end of a connection.
type fate int

const (
	carried fate = iota
	mute         // what it sends arrives nowhere
	unheard      // as mute, and it has sent something that its peer never acknowledged
	dead         // as mute, and nobody ever says so
)

// lay leads to a server's address until the test ends.
func lay(t testing.TB, to string) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{addr: listener.Addr().String(), to: to, listener: listener, ends: map[net.Conn]fate{}}
	c.tasks.Go(c.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		c.cut()
		c.tasks.Wait()
	})
	return c
}

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return // closed
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		c.mu.Lock()
		broken := c.broken
		if !broken {
			is := carried
			if c.hanging > 0 {
				c.hanging--
				is = dead
			}
			c.ends[near], c.ends[far] = is, is
		}
		c.mu.Unlock()
		if broken {
			_ = near.Close()
			_ = far.Close()
			continue
		}
		c.tasks.Go(func() { c.carry(near, far) })
		c.tasks.Go(func() { c.carry(far, near) })
	}
}

// carry ends both connections with either, since nobody here uses one half; but
// of those that fell silent, no end hears of the other any more.
func (c *cable) carry(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		mute := c.swallows(from)
		if err == nil && !mute {
			_, err = to.Write(buf[:n])
		}
		if err != nil { // how it ended does not matter
			if !mute {
				c.end(to)
			}
			c.end(from)
			return
		}
	}
}

// swallows tells whether what an end has sent is lost.
func (c *cable) swallows(end net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.ends[end] {
	case carried:
		return false
	case dead:
		return true
	}
	c.ends[end] = unheard
	if !c.broken {
		c.refuse(end)
	}
	return true
}

func (c *cable) end(end net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ends, end)
	_ = end.Close()
}

// cut breaks every connection there is, without a word to either side. New ones
// are carried.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset()
}

// down is cut, and new connections fail, too, until up.
func (c *cable) down() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	c.reset()
}

// fallSilent has what is sent arrive nowhere, and new connections fail, until
// up: as when somebody walks out of reach.
func (c *cable) fallSilent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	for end := range c.ends {
		c.ends[end] = mute
	}
}

// strand loses every connection there is, as when the network slept with the
// client, and the next n; what comes after them is carried.
func (c *cable) strand(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for end := range c.ends {
		c.ends[end] = dead
	}
	c.hanging = n
}

// deafen lets through what clients send, and nothing that is sent to them; new
// connections fail, until up.
func (c *cable) deafen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	for end := range c.ends {
		if end.LocalAddr().String() != c.addr {
			c.ends[end] = mute
		}
	}
}

// up does not bring back the connections that fell silent: nobody on the way
// knows them any more. A client learns that with the next thing it sends, or
// sends again; the server, which waits, does not.
func (c *cable) up() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = false
	for end, is := range c.ends {
		if is == unheard {
			c.refuse(end)
		}
	}
}

// refuse resets a client's end. It is called with mu held.
func (c *cable) refuse(end net.Conn) {
	if end.LocalAddr().String() != c.addr {
		return
	}
	_ = end.(*net.TCPConn).SetLinger(0)
	_ = end.Close()
}

// reset breaks all there is. It is called with mu held.
func (c *cable) reset() {
	for end := range c.ends {
		_ = end.(*net.TCPConn).SetLinger(0) // what is under way is lost
		_ = end.Close()
	}
	clear(c.ends)
}
