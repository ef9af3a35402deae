package e2e

import (
	"io"
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

	mu   sync.Mutex
	ends map[net.Conn]struct{}
}

// lay leads to a server's address until the test ends.
func lay(t testing.TB, to string) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{addr: listener.Addr().String(), to: to, listener: listener, ends: map[net.Conn]struct{}{}}
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
		c.ends[near], c.ends[far] = struct{}{}, struct{}{}
		c.mu.Unlock()
		c.tasks.Go(func() { c.carry(near, far) })
		c.tasks.Go(func() { c.carry(far, near) })
	}
}

// carry ends both connections with either: nobody here uses one half.
func (c *cable) carry(to, from net.Conn) {
	_, _ = io.Copy(to, from) // how it ended does not matter
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range []net.Conn{to, from} {
		delete(c.ends, end)
		_ = end.Close()
	}
}

// cut breaks every connection there is, without a word to either side. New ones
// are carried.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for end := range c.ends {
		_ = end.(*net.TCPConn).SetLinger(0) // a reset, and what is under way is lost
		_ = end.Close()
	}
	clear(c.ends)
}
