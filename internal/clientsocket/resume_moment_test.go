package clientsocket

import (
	"github.com/go-chime/chime/internal/stats"
	"runtime"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// moving is a client socket with a message in its queue, the connection that
// carries it, and a candidate.
func moving(t *testing.T) (c *ClientSocket, former, next *Connection) {
	t.Helper()
	cs := clients(t, transport.Limits{}, nil)
	c, former = cs.open(t, taking{}, Opening{Dialect: stats.Chime})
	c.mu.Lock()
	former.out.writing = true // nobody takes what is in the queue
	c.mu.Unlock()
	if err := c.Send(said(10), ""); err != nil {
		t.Fatal(err)
	}
	next = &Connection{}
	next.Init(taking{})
	if !c.Resume(next, c.out.credentials.current) {
		t.Fatal("its secret is not good")
	}
	next.due.Store(int64(mono.Now())) // its time is over
	return c, former, next
}

// contend runs both, in this order, while somebody else has c.mu for so long
// that it goes from one who waits to the next, and not to who asks again.
func contend(c *ClientSocket, first, second func()) {
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

func promote(c *ClientSocket, n *Connection) { _ = c.in.control(n, acked) }

var acked = wire.Frame{Topic: wire.TopicChime, Event: wire.EventAck, Payload: []byte(`{"received":0}`)}

// starve lasts until a sync.Mutex takes who waits for starving.
func starve() {
	for start := time.Now(); time.Since(start) < 2*time.Millisecond; {
		runtime.Gosched()
	}
}

func TestACloseFrameOnTheFormerConnectionTakesNothingFromTheNext(t *testing.T) {
	for range 20 {
		c, former, next := moving(t)
		contend(c, func() { former.PeerClosed(wire.CloseNormal) }, func() { promote(c, next) })
		c.mu.Lock()
		if n := c.out.queue.Waiting() + int(c.out.queue.Sent()); c.ended || c.out.carrier != next || n != 1 {
			t.Errorf("ended is %v, and the next connection has %d messages, want the 1 that was queued", c.ended, n)
		}
		c.mu.Unlock()
	}
}

func TestAConnectionPromotedInTheMomentItsTimeIsOverStays(t *testing.T) {
	for range 20 {
		c, _, next := moving(t)
		contend(c, func() { promote(c, next) }, func() { next.Watch(0, 0, nil, nil) })
		c.mu.Lock()
		if c.out.carrier == next && next.out.closing {
			t.Errorf("it was promoted, and ends with %d %q", next.out.code, next.out.reason)
		}
		c.mu.Unlock()
	}
}
