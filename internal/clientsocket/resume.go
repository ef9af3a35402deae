package clientsocket

import (
	"time"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// A client of the chime dialect outlives its connections. One that breaks
// leaves it detached for the grace period; one that comes with its secret is a
// candidate, which carries nothing but its hello until the client promotes it by
// speaking of it: on a WebSocket with an ack, on a stream with a POST that has
// the secret of that hello, with long-polling with a POST or the next poll. So whatever
// is lost or doubled on the way there, the client decides, once, where its frames travel,
// and from which number.

// unusedWait is how long a candidate waits for its promotion.
const unusedWait = 10 * time.Second

// Resume makes n a candidate of the client socket, and greets it. It reports
// false if secret is not good or the client socket has ended.
func (c *ClientSocket) Resume(n *Connection, secret string) bool {
	fresh := c.clients.newSecret()
	c.clients.Registry.index(fresh, c)
	c.in.mu.Lock() // what the hello says to have been received is where the numbers go on
	c.mu.Lock()
	good := c.keeps && !c.ended && c.out.credentials.good(secret)
	if good {
		n.c = c
		n.number = c.in.received.Load()
		c.out.addCandidate(n, fresh, secret)
	}
	c.mu.Unlock()
	c.in.mu.Unlock()
	switch {
	case !good:
		c.clients.Registry.unindex(fresh)
	case n.out.polled:
		c.clients.Registry.name(c.clients.waitName(c), c)
	}
	return good
}

// addCandidate greets n with a fresh secret; it came with the secret used.
func (o *outbound) addCandidate(n *Connection, fresh, used string) {
	due := mono.Now().Add(unusedWait)
	n.due.Store(int64(due))
	if o.carrier == nil {
		o.grace.extend(due)
	}
	o.credentials.issue(fresh, n, used)
	n.sendControl(o.c.clients.hello(o.c, n, fresh, true))
	for _, candidate := range o.credentials.surplus() {
		candidate.closeAlone(wire.CloseReplaced, "not used")
	}
	o.unindex(o.credentials.expel())
}

// unindex has secrets forgotten that are refused already.
func (o *outbound) unindex(secrets []string) {
	if registry := &o.c.clients.Registry; len(secrets) > 0 {
		o.c.clients.config.Tasks.Go(func() { registry.unindex(secrets...) })
	}
}

// resumable reports whether the client may come back when its connection has
// broken. One on which nothing was ever counted has nothing to come back for.
func (o *outbound) resumable() bool {
	return o.c.keeps && (o.c.in.received.Load() > 0 || o.queue.Sent() > 0 || len(o.credentials.issued) > 0)
}

// detach begins the grace period, which waits for a candidate that is there.
func (o *outbound) detach() {
	o.carry(nil)
	if o.grace == nil {
		o.grace = &grace{}
	}
	wait := o.c.clients.config.Grace
	for _, is := range o.credentials.issued {
		if is.candidate() {
			wait = max(wait, is.conn.dueIn())
		}
	}
	o.grace.start(wait, o.c.expires.left(), o.graceOver)
}

// graceOver ends a client socket that was not resumed. c.mu is not held.
func (o *outbound) graceOver(round int) {
	c := o.c
	c.mu.Lock()
	if !o.grace.runs(round) {
		c.mu.Unlock()
		return
	}
	switch left := c.expires.left(); {
	case left <= 0:
		c.end(wire.CloseDisconnect, "expired", transport.Expired)
	case !o.grace.over(left):
		c.mu.Unlock()
		return
	default:
		c.end(wire.CloseSlow, "too late", transport.Vanished)
	}
	o.queue.Clear()
	c.mu.Unlock()
	c.reportEnd()
}

// promote makes the i-th candidate the one connection that carries frames, from
// the one after those that the client has received. The former connection is
// closed. If the candidate has broken, the client socket is detached by that.
// inbound.mu is held too.
func (o *outbound) promote(i int, received uint64) error {
	if received > o.queue.Sent() {
		return ErrBeyond
	}
	from, outcome := o.credentials.by, stats.Resumed
	chosen, dropped, left := o.credentials.promote(i)
	o.unindex(dropped)
	if o.carrier != nil {
		left, outcome = append(left, o.carrier), stats.Moved
	}
	for _, n := range left {
		n.sendControl(wire.NewMoved())
		n.closeAlone(wire.CloseReplaced, "moved")
	}
	counted := o.c.clients.config.Stats
	o.carry(chosen.conn)
	if !o.c.ended {
		counted.Moved(from, o.credentials.by, o.c.dialect)
	}
	o.grace.stop()
	if received < o.queue.Forgotten() {
		slow := o.c.slow(stats.SlowUnread)
		o.queue.Clear()
		counted.Resumes.Add(stats.Missed)
		o.c.end(wire.CloseSlow, "too much was missed", transport.Vanished)
		o.c.clients.config.Tasks.Go(func() {
			o.c.tellSlow(slow)
			o.c.reportEnd()
		})
		return nil
	}
	o.queue.Acknowledge(received)
	o.queue.Rewind()
	if !chosen.candidate() {
		o.detach()
		return nil
	}
	counted.Resumes.Add(outcome)
	chosen.conn.due.Store(0)
	chosen.conn.Heard()
	chosen.conn.out.rouse()
	return nil
}

// use takes the secret of a POST and what it acknowledges, and returns the
// connection that the secret belongs to, nil if that is broken. The error is
// ErrUnknown or ErrBeyond. inbound.mu is held too.
func (o *outbound) use(secret string, received uint64) (*Connection, error) {
	switch i := o.credentials.find(secret); {
	case o.c.ended:
		return nil, ErrUnknown
	case secret == o.credentials.current:
		if !posts(o.credentials.by) {
			return nil, ErrUnknown // its frames come on the WebSocket
		}
		return o.carrier, o.acknowledge(received)
	case i < 0, !posts(o.credentials.issued[i].by):
		return nil, ErrUnknown
	default:
		if err := o.promote(i, received); err != nil {
			return nil, err
		}
	}
	if o.c.ended {
		return nil, ErrUnknown
	}
	return o.carrier, nil
}
