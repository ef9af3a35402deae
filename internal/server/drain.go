package server

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/mono"
)

const (
	// defaultDrain leaves half of the 30 s between SIGTERM and SIGKILL that
	// Kubernetes gives, and more, to handlers and requests.
	defaultDrain = 10 * time.Second
	// drainRate is how many client sockets end in a second if there is no need to
	// be faster: a crowd of this size may as well come back together.
	drainRate = 100
	// drainRetry is the least that a client is asked to wait, and drainSpread what
	// chance may add.
	drainRetry  = 2 * time.Second
	drainSpread = 4 * time.Second
	// finishTime is the most that a client stays for what it has asked for: a second longer
	// than handlers have before their contexts end, since those that heed it have an answer.
	finishTime = 6 * time.Second
)

// comeBack is when one client is asked to come back. Each gets its own time, so
// that those whose connections ended together do not return together.
func comeBack() time.Duration { return drainRetry + rand.N(drainSpread) }

// drain ends the client sockets of a server that shuts down.
type drain struct {
	window  time.Duration // over which their ends are spread; 0 is none
	clients *clientsocket.Clients
}

// run refuses new clients from now on, and has the present ones take their turns, as
// Server.Drain says. It returns when all have had theirs; busy are those that stay for answers.
func (d *drain) run(ctx context.Context) (busy *sync.WaitGroup) {
	busy = &sync.WaitGroup{}
	deadline, _ := ctx.Deadline()
	d.clients.EndBy(deadline) // of those, too, that end by themselves meanwhile
	var rest []*clientsocket.ClientSocket
	for _, c := range d.clients.Registry.Drain() {
		if c.Connected() {
			rest = append(rest, c)
		} else { // nobody hears of it
			c.Drain(0, d.farewell(ctx))
		}
	}
	slices.SortStableFunc(rest, func(a, b *clientsocket.ClientSocket) int { return order(a.Posts()) - order(b.Posts()) })
	window := d.spread(ctx, len(rest))
	start, timer := time.Now(), time.NewTimer(0)
	defer timer.Stop()
	for i, c := range rest {
		if wait := time.Until(start.Add(window * time.Duration(i) / time.Duration(len(rest)))); wait > 0 && c.Connected() {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				window = 0
			}
		}
		d.end(ctx, c, start.Add(d.window), busy)
	}
	return busy
}

// end ends one of them, whose turn it is: at once if all that it has sent has been answered.
// Else busy has one more, and it ends when that is so, or its patience is over, which may be
// until the end of the window, or a quarter of that if its turn is late.
func (d *drain) end(ctx context.Context, c *clientsocket.ClientSocket, windowEnds time.Time, busy *sync.WaitGroup) {
	leaves := departure{client: c, began: time.Now(), handlers: mono.Never, farewell: d.farewell(ctx)}
	leaves.patience = min(finishTime, max(time.Until(windowEnds), d.window/4))
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		most := min(left*2/3, max(left-answerWait*3/2, left/3)) // the client has answerWait to close its connection then
		leaves.handlers, leaves.patience = most*3/4, min(leaves.patience, most)
	}
	if answered := leaves.begin(); answered != nil {
		busy.Go(func() { leaves.wait(ctx, answered) })
	}
}

// order puts first what is true.
func order(first bool) int {
	if first {
		return 0
	}
	return 1
}

// spread is over how long the ends of n client sockets are spread: no more than half of
// the time that ctx has, since what they are handling has to end in it too.
func (d *drain) spread(ctx context.Context, n int) time.Duration {
	window := min(d.window, time.Duration(n)*(time.Second/drainRate))
	if deadline, ok := ctx.Deadline(); ok {
		window = min(window, time.Until(deadline)/2)
	}
	return max(window, 0)
}

// farewell is how long a client may take to be told that it is drained: no more than half
// of the window, a second at least, nor than half of what ctx has left. Whoever polls no
// more, or reads no more, would be waited for beyond what was to be.
func (d *drain) farewell(ctx context.Context) time.Duration {
	wait := mono.Never
	if d.window > 0 {
		wait = max(d.window/2, time.Second)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left > 0 { // else nobody waits
			wait = min(wait, left/2)
		}
	}
	return wait
}

// Drain refuses new clients from now on, and then ends the present ones with code
// 1012, one after the other over a window: a client of Phoenix, which can't be told
// when to come back, does so at once. When ctx ends, the rest end together. Meanwhile is
// called when each has had its turn, and some may stay for what they are answered. Drain
// waits for no farewell; Wait does.
func (s *Server) Drain(ctx context.Context, meanwhile func()) {
	busy := s.drain.run(ctx)
	meanwhile()
	busy.Wait()
	s.bodies.cut()
}

// Window is over how long the ends of n other connections are spread: as those of client
// sockets, and over a second at least, in which those may end that are drained elsewhere.
func (s *Server) Window(ctx context.Context, n int) time.Duration {
	return s.drain.spread(ctx, max(n, drainRate))
}

// Wait returns when every connection and goroutine is done, or with the error of
// ctx.
func (s *Server) Wait(ctx context.Context) error { return s.tasks.Wait(ctx) }

// Go runs f in a goroutine that Wait waits for.
func (s *Server) Go(f func()) { s.tasks.Go(f) }

// Shutdown drains and waits.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain(ctx, func() {})
	return s.Wait(ctx)
}
