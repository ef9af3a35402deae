package fanout

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/wire"
)

// claimant is one who waits to send a page itself.
type claimant struct {
	ctx    context.Context
	cancel func()
	sends  chan struct{} // has it send, and release
	state  string
}

func (c *claimant) run(p *Pager, q *fakeQueue) {
	c.state = "waiting"
	if c.ctx, c.cancel = context.WithCancel(context.Background()); c.sends == nil {
		c.sends = make(chan struct{})
	}
	go func() {
		if err := p.Claim(c.ctx); err != nil {
			c.state = ""
			return
		}
		c.state = "sending"
		<-c.sends
		_ = q.Send(wire.NewPush("a", "page", []byte("{}"), 0), "")
		c.state = ""
		p.Release()
	}()
}

// Those who claim a page, and may give up, and members that are behind take turns: one
// page is sent at one time, only where there is room, and nobody is forgotten.
func TestClaimsAtRandom(t *testing.T) {
	need.Bubbles(t, 50, 300, claimsAtRandom)
}

func claimsAtRandom(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	w := newWorld(1000)
	w.budget.max = 0 // so that each page is read
	w.retains(t, 150)
	q, p := w.client(4 + r.IntN(100))
	q.stick(true)
	m := newOwner(w.topic, p, "m")
	if r.IntN(2) == 0 {
		go func() { _ = m.join(Want{Last: 150}) }()
	}
	claimants := make([]claimant, 4)
	for range 80 {
		switch c := &claimants[r.IntN(len(claimants))]; r.IntN(4) {
		case 0:
			if c.state == "" {
				c.run(p, q)
			}
		case 1:
			if c.state == "sending" {
				c.sends <- struct{}{}
			}
		case 2:
			if c.state != "" {
				c.cancel()
			}
		case 3:
			waits := claimants[0].state == "waiting"
			q.read(r.IntN(40))
			if waits && r.IntN(2) == 0 {
				claimants[0].cancel() // at the moment at which it is granted, perhaps
			}
		}
		synctest.Wait()
		sending := 0
		for i := range claimants {
			if claimants[i].state == "sending" {
				sending++
			}
		}
		if sending > 1 {
			t.Fatalf("%d may send a page at one moment", sending)
		}
	}
	if r.IntN(3) == 0 {
		c, idle := &claimants[1], claimants[1].state == ""
		p.Close()
		if idle {
			c.run(p, q)
		}
	}
	q.stick(false)
	for range len(claimants) + 1 { // one after the other
		synctest.Wait()
		for i := range claimants {
			if claimants[i].state == "sending" {
				claimants[i].sends <- struct{}{}
				synctest.Wait()
			}
		}
	}
	m.topic.mu.Lock()
	defer m.topic.mu.Unlock()
	for i := range claimants {
		if state := claimants[i].state; state != "" {
			t.Errorf("claimant %d is %s when its client has read everything", i, state)
		}
	}
	if !p.closed && (m.state == behind || p.waiting() > 0 || p.busy) {
		t.Errorf("a member is in state %d, %d wait, and the pager is busy: %t, want it live, none and not", m.state, p.waiting(), p.busy)
	}
}

// A claim that is granted at the moment at which it is given up must not be held for ever.
func TestAClaimGivenUpWhenItIsGranted(t *testing.T) {
	for i := range 200 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(10)
			q, p := w.client(4)
			if err := p.Claim(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- p.Claim(ctx) }()
			synctest.Wait()
			cancel()
			p.Release() // before the other goroutine runs, mostly
			if err := <-ended; err == nil {
				p.Release()
			}
			synctest.Wait()
			if p.busy || len(q.items) > 0 {
				t.Fatalf("round %d: the pager is busy, and nobody has a claim", i)
			}
		})
	}
}
