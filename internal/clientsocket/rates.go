package clientsocket

import (
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/pace"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// rates are how often one client socket may do something. All of them share one.
type rates struct {
	frames, joins, bytes pace.Rate
}

func ratesOf(l transport.Limits) rates {
	return rates{pace.Of(l.FramesPerSecond, 0), pace.Of(l.JoinsPerSecond, 2*l.Topics), pace.Of(l.BytesPerSecond, 2*l.BatchBytes)}
}

// spent is what one client socket has used of its rates. It knows no frame's way; the
// lock of inbound guards it.
type spent struct {
	frames, joins, bytes pace.Bucket
}

// take uses what something of so many bytes takes. It reports whether that is allowed,
// and whether the client has had enough: then it ends.
func (s *spent) take(r *rates, size int) (allowed, enough bool) {
	now := mono.Now()
	a, b := s.frames.Take(r.frames, 1, now)
	c, d := s.bytes.Take(r.bytes, size, now)
	return a && c, b || d
}

// join is take of what a join takes besides.
func (s *spent) join(r *rates) (allowed, enough bool) { return s.joins.Take(r.joins, 1, mono.Now()) }

// spend uses what f takes. It reports whether f may be handed on; if not, and its client
// waits for an answer, that has been given. What ends a join, or belongs to the
// connection, always may: it makes room. A client that goes on regardless is ended. mu
// is held.
func (in *inbound) spend(f *wire.Frame) (allowed bool) {
	c, join := in.c, f.Event == wire.EventJoin
	allowed, enough := in.spent.take(&c.clients.rates, f.Size())
	cause := stats.RefusedFrame
	if join && allowed {
		cause = stats.RefusedJoin
		allowed, enough = in.spent.join(&c.clients.rates)
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

// waste uses what something of so many bytes takes that is not handed on. mu is held.
func (in *inbound) waste(size int) {
	if _, enough := in.spent.take(&in.c.clients.rates, size); enough {
		in.flooded()
	}
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
	in := &n.c.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.receiver != nil {
		in.waste(size)
	}
}
