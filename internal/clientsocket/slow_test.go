package clientsocket

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/internal/nonblock"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// stalling takes what it is given when a test lets it, or nothing.
type stalling struct {
	taking
	begun, release chan struct{}
	takes          atomic.Bool
}

func (l *stalling) Try(_ *nonblock.Writer, b []byte) (int, error) {
	l.begun <- struct{}{}
	<-l.release
	if l.takes.Load() {
		return len(b), nil
	}
	return 0, nil
}

func (l *stalling) Write([]byte) error { <-l.release; return errBroken }

// A queue may be longer than QueueBytes as long as nobody knows whether its client
// reads: before its connection has been written to. Then it may not.
func TestAClientIsSlowOnlyAfterItWasWrittenTo(t *testing.T) {
	const most = 100_000
	cs := clients(t, transport.Limits{QueueBytes: most}, nil)
	l := &stalling{begun: make(chan struct{}, 100), release: make(chan struct{})}
	l.takes.Store(true)
	c, _ := cs.open(t, l, Opening{})
	send := func(n int) error {
		for range n {
			if err := c.Send(said(most/10), ""); err != nil {
				return err
			}
		}
		return nil
	}
	if err := send(1); err != nil {
		t.Fatal(err)
	}
	<-l.begun
	if err := send(50); err != nil {
		t.Fatalf("while the first write goes on: %v", err)
	}
	if taken := cs.budget.Taken(); taken < 50*most/10 {
		t.Errorf("%d bytes are taken, want more than %d", taken, 50*most/10)
	}
	for range 5 { // writes of what waits: it takes them all
		l.release <- struct{}{}
		<-l.begun
	}
	if err := send(20); err != nil {
		t.Fatalf("while it takes all that it is given: %v", err)
	}
	l.takes.Store(false)
	l.release <- struct{}{}
	for blocked := false; !blocked; runtime.Gosched() {
		c.mu.Lock()
		blocked = c.out.carrier.out.blocked
		c.mu.Unlock()
	}
	if err := send(20); !errors.Is(err, transport.ErrSlow) {
		t.Fatalf("when it takes no more: got %v, want %v", err, transport.ErrSlow)
	}
	if got := cs.slow("queue"); got != 1 {
		t.Errorf("got %v slow by queue, want 1", got)
	}
	close(l.release)
	for cs.budget.Taken() > 0 { // until the write has failed
		runtime.Gosched()
	}
}

// What all clients together do not read is bounded, however few each has.
func TestTheQueuesOfAllClientsHaveOneBound(t *testing.T) {
	const total, size = 1 << 20, 10_000
	cs := clients(t, transport.Limits{TotalQueueBytes: total}, nil)
	ended := 0
	for range 50 {
		l := &stalling{begun: make(chan struct{}, 1), release: make(chan struct{})}
		defer close(l.release)
		c, _ := cs.open(t, l, Opening{})
		_ = c.Send(said(size), "")
		<-l.begun
		l.release <- struct{}{}
		for blocked := false; !blocked; runtime.Gosched() {
			c.mu.Lock()
			blocked = c.out.carrier.out.blocked
			c.mu.Unlock()
		}
		for range 100 {
			if c.Send(said(size), "") != nil {
				ended++
				break
			}
		}
		if taken := cs.budget.Taken(); taken > total+4*size {
			t.Fatalf("%d bytes are taken, want at most %d", taken, total)
		}
	}
	if got := cs.slow("total_queue"); ended < 40 || got != float64(ended) {
		t.Errorf("%d of 50 clients that read nothing were ended, and %v are slow by total_queue", ended, got)
	}
}

// slow returns how many were slow by that cause.
func (cs *Clients) slow(cause string) float64 {
	return cs.config.Stats.Families(stats.Moment{}).Value("chime_slow_total", cause)
}

// clogged takes nothing, until its time is over.
type clogged struct{ taking }

func (clogged) Try(*nonblock.Writer, []byte) (int, error) { return 0, nil }
func (clogged) Write([]byte) error                        { return os.ErrDeadlineExceeded }

// A client that is slow is counted by what it was too slow for, also if it may resume.
func TestClientsThatAreSlowAreCountedByCause(t *testing.T) {
	causes := make(chan Slowness, 10)
	cs := clients(t, transport.Limits{UnackedMessages: 1, QueueBytes: 5000}, nil)
	cs.config.Slow = func(_ *ClientSocket, s Slowness) { causes <- s }
	_, _ = cs.open(t, clogged{}, Opening{Dialect: stats.Chime}) // whose hello is not taken
	for cs.slow("stuck") == 0 {
		runtime.Gosched()
	}
	c, _ := cs.open(t, taking{}, Opening{Dialect: stats.Chime})
	for range 3 {
		if err := c.Send(said(1), ""); err != nil {
			t.Fatal(err)
		}
	}
	for forgotten := uint64(0); forgotten < 2; runtime.Gosched() {
		c.mu.Lock()
		forgotten = c.out.queue.Forgotten()
		c.mu.Unlock()
	}
	next := &Connection{}
	next.Init(taking{})
	if !c.Resume(next, c.out.credentials.current) {
		t.Fatal("it can't resume")
	}
	next.Receive(wire.Frame{Topic: wire.TopicChime, Event: wire.EventAck, Payload: []byte(`{"received":0}`)}, 0)
	if got := <-causes; got.Cause != stats.SlowStuck {
		t.Errorf("first told of %+v, want %v", got, stats.SlowStuck)
	}
	if got := <-causes; got.Cause != stats.SlowUnread {
		t.Errorf("then told of %+v, want %v", got, stats.SlowUnread)
	}
	away, n := cs.open(t, taking{}, Opening{Dialect: stats.Chime})
	_ = away.Send(said(1), "")
	for written := uint64(0); written == 0; runtime.Gosched() { // or it would have nothing to come back for
		away.mu.Lock()
		written = away.out.queue.Sent()
		away.mu.Unlock()
	}
	n.Abort(transport.Vanished)
	var err error
	for err == nil {
		err = away.Send(said(1500), "")
	}
	if !errors.Is(err, transport.ErrSlow) {
		t.Fatalf("got %v, want %v", err, transport.ErrSlow)
	}
	if got := <-causes; got.Cause != stats.SlowQueue || got.Allowed != 5000 || got.Waiting > got.Allowed || got.Waiting < got.Allowed/2 || got.Taken < got.Waiting {
		t.Errorf("then told of %+v, want %v of 5000 bytes", got, stats.SlowQueue)
	}
	want := map[string]float64{"stuck": 1, "unacked": 1, "queue": 1, "total_queue": 0}
	for cause, n := range want {
		if got := cs.slow(cause); got != n {
			t.Errorf("got %v slow by %s, want %v", got, cause, n)
		}
	}
}

// Those who read nothing may all come first. One that reads is not to pay for them:
// before its connection has been written to, its queue takes what comes.
func TestWhoReadsHasRoomBesideThoseWhoDoNot(t *testing.T) {
	const total, size = 1 << 20, 5_000
	cs := clients(t, transport.Limits{TotalQueueBytes: total}, nil)
	fill := func(l *stalling, reads bool) error {
		l.takes.Store(reads)
		c, _ := cs.open(t, l, Opening{})
		_ = c.Send(said(size), "")
		<-l.begun
		if !reads {
			l.release <- struct{}{}
			for blocked := false; !blocked; runtime.Gosched() {
				c.mu.Lock()
				blocked = c.out.carrier.out.blocked
				c.mu.Unlock()
			}
		}
		for range 20 {
			c.mu.Lock()
			fits := c.out.queue.Fits(queue.Item{M: said(size)}, c.out.room())
			c.mu.Unlock()
			if !reads && !fits {
				return nil
			}
			if err := c.Send(said(size), ""); err != nil {
				return err
			}
		}
		return nil
	}
	for n := range 30 { // each as much as it may have
		l := &stalling{begun: make(chan struct{}, 1), release: make(chan struct{})}
		defer close(l.release)
		if err := fill(l, false); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
	l := &stalling{begun: make(chan struct{}, 100), release: make(chan struct{})}
	defer close(l.release)
	if err := fill(l, true); err != nil {
		t.Errorf("20 messages while its first write goes on: %v, want them queued", err)
	}
}
