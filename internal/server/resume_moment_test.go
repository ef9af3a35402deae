package server

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// swallowing is a connection that takes all.
type swallowing struct{ line }

func (swallowing) transport() string                                    { return transport.SSE }
func (swallowing) encode(b []byte, _ *client, it item, _ uint64) []byte { return it.m.AppendEvent(b) }
func (swallowing) farewell(b []byte, _ wire.CloseCode, _ string) []byte { return append(b, '.') }
func (swallowing) open(b []byte) []byte                                 { return b }
func (swallowing) seal(b []byte, _ bool) []byte                         { return b }
func (swallowing) try(_ *nonblocking, b []byte) (int, error)            { return len(b), nil }
func (swallowing) hurry(time.Duration)                                  {}
func (swallowing) hangUp(bool)                                          {}

// moving is a client with a message in its queue, the connection that carries
// it, and a candidate.
func moving(t *testing.T) (c *client, former, next *connection) {
	t.Helper()
	s, err := New(anybody)
	if err != nil {
		t.Fatal(err)
	}
	c = &client{server: s, flusher: &s.flushers.shards[0], receiver: deaf{}, chime: true, keeps: true, secret: "former"}
	former, next = &connection{c: c, line: swallowing{}}, &connection{c: c, line: swallowing{}}
	c.conn = former
	next.unused.Store(time.Now().UnixNano())
	c.uncommon().issued = []issued{{1, "next", true, next}}
	c.queue.push(item{m: wire.NewPush("room:1", "said", []byte("{}"), 0)})
	t.Cleanup(func() {
		c.mu.Lock()
		c.stopGrace()
		c.mu.Unlock()
		if err := s.tasks.Wait(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c, former, next
}

// contend runs both, in this order, while somebody else has c.mu for so long
// that it goes from one who waits to the next, and not to who asks again.
func contend(c *client, first, second func()) {
	done := make(chan struct{}, 2)
	c.mu.Lock()
	for _, f := range []func(){first, second} {
		go func() { f(); done <- struct{}{} }()
		starve()
	}
	c.mu.Unlock()
	c.mu.Lock() // who has waited in vain now says that it is starving
	starve()
	c.mu.Unlock()
	<-done
	<-done
}

func promote(c *client, n *connection) {
	c.upstream.Lock()
	defer c.upstream.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.promote(n, 0)
}

// starve lasts until a sync.Mutex takes who waits for starving.
func starve() {
	for start := time.Now(); time.Since(start) < 2*time.Millisecond; {
		runtime.Gosched()
	}
}

func TestAGoodbyeOnTheFormerConnectionTakesNothingFromTheNext(t *testing.T) {
	for range 20 {
		c, former, next := moving(t)
		contend(c, func() { former.peerClosed(wire.CloseNormal) }, func() { promote(c, next) })
		c.mu.Lock()
		if !c.ended && c.queue.n != 1 {
			t.Errorf("the client lives on with %d messages, want the 1 that was queued", c.queue.n)
		}
		c.mu.Unlock()
	}
}

func TestAConnectionPromotedInTheMomentItsTimeIsOverStays(t *testing.T) {
	for range 20 {
		c, _, next := moving(t)
		contend(c, func() { promote(c, next) }, func() { next.watch(time.Now(), 0) })
		c.mu.Lock()
		if c.conn == next && next.ending {
			t.Errorf("it was promoted, and ends with %d %q", next.code, next.reason)
		}
		c.mu.Unlock()
	}
}
