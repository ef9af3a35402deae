package clientsocket

import (
	"time"

	"github.com/go-chime/chime/internal/mono"
)

// grace is the time that a client socket may be detached. It costs a timer and
// no goroutine. It knows moments, and neither connections nor secrets; the client
// socket's mu guards it.
type grace struct {
	timer *time.Timer // nil while it does not run
	round int         // how often it has begun: a timer may fire after it was stopped
	until mono.Instant
}

// start begins a grace period of so long. When the first of that and left is
// over, f is called with the number of the round.
func (g *grace) start(wait, left time.Duration, f func(round int)) {
	g.stop()
	g.round++
	round := g.round
	g.until = mono.Now().Add(wait)
	g.timer = time.AfterFunc(max(min(wait, left), 1), func() { f(round) }) // what has passed is due at once
}

// stop ends the grace period.
func (g *grace) stop() {
	if g != nil && g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
}

// extend has it last at least until a moment.
func (g *grace) extend(until mono.Instant) { g.until = max(g.until, until) }

// runs reports whether a round is under way.
func (g *grace) runs(round int) bool { return g.timer != nil && g.round == round }

// over reports whether the time is. If not, because it was extended, f is called again.
func (g *grace) over(left time.Duration) bool {
	rest := g.until.Sub(mono.Now())
	if rest <= 0 {
		return true
	}
	g.timer.Reset(max(min(rest, left), 1))
	return false
}
