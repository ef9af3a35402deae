package clientsocket

import (
	"time"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/pace"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// rates are how often one client socket may do something. All of them share one.
type rates struct {
	frames, joins, bytes pace.Rate // joins are whatever has history read
	malformed            int       // how many frames a batch counts as that is none
}

func ratesOf(l transport.Limits) rates {
	return rates{
		pace.Of(l.FramesPerSecond, 0), pace.Of(l.JoinsPerSecond, 2*l.Topics), pace.Of(l.BytesPerSecond, 2*l.BatchBytes),
		max(1, l.FramesPerSecond/malformedPerSecond),
	}
}

// malformedPerSecond is how many batches that are none a client may send on average. An
// honest one may have to look for the frame that makes them so, and sends no more of them.
const malformedPerSecond = 10

// spent is what one client socket has used of its rates. It knows no frame's way; the
// lock of inbound guards it.
type spent struct {
	frames, joins, bytes pace.Bucket
}

// take uses what so many frames take, of so many bytes together. It reports whether that
// is allowed, and whether the client has had enough: then it ends.
func (s *spent) take(r *rates, frames, size int) (allowed, enough bool) {
	now := mono.Now()
	a, b := s.frames.Take(r.frames, frames, now)
	c, d := s.bytes.Take(r.bytes, size, now)
	return a && c, b || d
}

// read is take of what a join takes besides, and a request for older messages.
func (s *spent) read(r *rates) (allowed, enough bool) { return s.joins.Take(r.joins, 1, mono.Now()) }

// spend uses what f takes, of whose bytes so many are not paid for. It reports whether f
// may be handed on; if not, and its client waits for an answer, that has been given. What
// ends a join, or belongs to the connection, always may: it makes room. A client that goes
// on regardless is ended. mu is held.
func (in *inbound) spend(f *wire.Frame, size int) (allowed bool) {
	c, join := in.c, f.Event == wire.EventJoin
	allowed, enough := in.spent.take(&c.clients.rates, 1, size)
	cause := stats.RefusedFrame
	if (join || f.Event == wire.EventHistory) && allowed {
		cause = stats.RefusedJoin
		allowed, enough = in.spent.read(&c.clients.rates)
	}
	switch {
	case enough:
		in.flooded()
		return false
	case allowed, f.Event == wire.EventLeave, !wire.Counted(f.Topic):
		return true
	}
	c.clients.config.Stats.Refusals.Add(cause)
	if join || !f.Ref.Null() {
		_ = c.Send(wire.NewReply(f.JoinRef, f.Ref, f.Topic, "error", []byte(`{"reason":"rate_limited"}`)), "")
	}
	return false
}

// waste uses what so many frames take, of so many bytes together, where nothing is handed
// on. mu is held.
func (in *inbound) waste(frames, size int) {
	if in.receiver == nil {
		return
	}
	if _, enough := in.spent.take(&in.c.clients.rates, frames, size); enough {
		in.flooded()
	}
}

// Pay uses what the body of a POST takes, of so many bytes, before it is read. What comes
// in it has no bytes to pay for. If that is not allowed yet it returns how long the client
// has to wait, who uses a frame by having asked: to come back in time costs nothing.
func (c *ClientSocket) Pay(size int) (wait time.Duration) {
	in := &c.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if wait = in.spent.bytes.Try(c.clients.rates.bytes, size, mono.Now()); wait > 0 {
		c.clients.config.Stats.Refusals.Add(stats.RefusedFrame)
		in.waste(1, 0)
	}
	return wait
}

// Repay gives back what was paid for so many bytes that did not come.
func (c *ClientSocket) Repay(size int) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.spent.bytes.Return(c.clients.rates.bytes, size)
}

// Malformed takes note of a POST that is no batch.
func (c *ClientSocket) Malformed() {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.waste(c.clients.rates.malformed, 0)
}

// flooded ends a client socket whose client goes on beyond its rates. mu is held.
func (in *inbound) flooded() {
	c := in.c
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if !ended {
		c.clients.config.Stats.Refusals.Add(stats.RefusedFlood)
		c.Close(wire.CloseFlood, "rate limited", transport.Closed)
	}
}

// Spend takes note of so many bytes that the client has sent and that are no frame: a
// ping, or what can't be decoded and is ignored.
func (n *Connection) Spend(size int) {
	n.c.in.mu.Lock()
	defer n.c.in.mu.Unlock()
	n.c.in.waste(1, size)
}
