package clientsocket

import (
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/internal/nonblock"
	"github.com/go-chime/chime/internal/queue"
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
	if ended < 40 {
		t.Errorf("%d of 50 clients that read nothing were ended", ended)
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
			fits := c.out.fits(queue.Item{M: said(size)})
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
