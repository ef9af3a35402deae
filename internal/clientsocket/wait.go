package clientsocket

import (
	"crypto/sha256"
	"encoding/base64"
	"sync/atomic"
)

// Several clients that poll, such as the tabs of a browser, may have too few connections
// for a poll each that is parked. One of them can wait for all, without their secrets: a
// client that polls has a name that is good for nothing but that.

// Wait is one request that waits until one of several client sockets that are polled has
// something to be polled. A client socket tells one at a time, the last that came, so
// there are never more of them than client sockets.
type Wait struct {
	Woken chan struct{} // has a token when Due may say something else
	on    []*ClientSocket
	left  atomic.Int32 // how many of these still tell it
}

// Await returns a Wait for client sockets, which End must end.
func Await(on []*ClientSocket) *Wait {
	w := &Wait{Woken: make(chan struct{}, 1), on: on}
	for _, c := range on {
		c.mu.Lock()
		former := c.out.wait
		c.out.wait = w
		w.left.Add(1)
		if n := c.out.carrier; n != nil && n.out.polled && n.out.poll == nil {
			n.out.rest() // from now on there is somebody to wake
		}
		c.mu.Unlock()
		if former != nil && former.left.Add(-1) == 0 {
			former.wake()
		}
	}
	return w
}

// End ends w.
func (w *Wait) End() {
	for _, c := range w.on {
		c.mu.Lock()
		if c.out.wait == w {
			c.out.wait = nil
		}
		c.mu.Unlock()
	}
}

// Over reports whether all of its client sockets tell another.
func (w *Wait) Over() bool { return w.left.Load() <= 0 }

// Due reports whether the client of c should poll: there is something for it, or it will
// find out that c is not polled any more.
func (c *ClientSocket) Due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.out.carrier
	return c.ended || n == nil || !n.out.polled || n.out.due()
}

func (w *Wait) wake() {
	if w == nil {
		return
	}
	select {
	case w.Woken <- struct{}{}:
	default:
	}
}

// waitName is what POST wait knows c by: no stranger can guess it, and who knows it
// learns when there is something for the client, and nothing else.
func (cs *Clients) waitName(c *ClientSocket) string {
	sum := sha256.Sum256(append(cs.waitKey[:], c.id...))
	return cs.config.Node + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// name has FindNamed know c.
func (r *Registry) name(name string, c *ClientSocket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.clients[c]; known {
		r.waited[name] = c
	}
}

// FindNamed returns the client socket whose hello, on a connection that is polled, has
// said this name; nil if there is none.
func (r *Registry) FindNamed(name string) *ClientSocket {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.waited[name]
}
