package server

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// A client of the chime dialect outlives its connections. One that breaks
// leaves it detached for the grace period; one that comes with its secret is a
// candidate, which carries nothing but its hello until the client promotes it by
// speaking of it: on a WebSocket with an ack, on a stream with a POST that has
// the secret of that hello. So whatever is lost or doubled on the way there, the
// client decides, once, where its frames travel, and from which number.

// MaxGrace bounds Config.Grace; NoGrace as Config.Grace lets nobody come back.
const (
	MaxGrace = 2 * time.Minute
	NoGrace  = time.Duration(math.MinInt64)
)

const (
	defaultGrace = 15 * time.Second
	// unusedWait is how long a candidate waits for its promotion.
	unusedWait = 10 * time.Second
	// A client may race its transports; more candidates than that it does not need.
	maxCandidates = 4
	// Of connections that broke the hello may have been seen, so their secrets stay good.
	maxIssued = 8
)

// issued is a secret that no promotion has made the current one yet.
type issued struct {
	number int // of the hello it went out with
	secret string
	stream bool
	conn   *connection // nil once it is broken
}

// live reports whether the connection that got the secret may be promoted.
func (is issued) live() bool { return is.conn != nil && !is.conn.ending }

var (
	errNotKnown = errors.New("no such client socket") // one answer for a secret that is wrong, unknown or expired: who guesses learns nothing
	errBeyond   = errors.New("more frames are acknowledged than were sent")
)

// resumable reports whether the client may come back when its connection has
// broken. One on which nothing was ever counted has nothing to come back for.
// c.mu is held.
func (c *client) resumable() bool {
	return c.keeps && (c.received.Load() > 0 || c.queue.sent() > 0 || c.rare != nil && len(c.rare.issued) > 0)
}

// detach begins the grace period, which waits for a candidate that is there. It
// costs a timer and no goroutine. c.mu is held.
func (c *client) detach() {
	c.stopGrace()
	r := c.uncommon()
	c.conn = nil
	r.detached++
	turn := r.detached
	now, wait := time.Now(), c.server.grace
	for _, is := range r.issued {
		if is.live() {
			wait = max(wait, time.Duration(is.conn.unused.Load()-now.UnixNano()))
		}
	}
	r.until = now.Add(wait)
	r.grace = time.AfterFunc(c.graceLeft(), func() { c.lapse(turn) })
}

// stopGrace ends the grace period. c.mu is held.
func (c *client) stopGrace() {
	if c.rare != nil && c.rare.grace != nil {
		c.rare.grace.Stop()
		c.rare.grace = nil
	}
}

// graceLeft is how long a detached client may still stay so. c.mu is held.
func (c *client) graceLeft() time.Duration {
	end := c.rare.until
	if at := c.expiry(); !at.IsZero() {
		end = earlier(end, at)
	}
	return max(time.Until(end), 1) // what has passed is due at once
}

// lapse ends a client that has not come back.
func (c *client) lapse(turn int) {
	c.mu.Lock()
	r := c.rare
	if c.conn != nil || c.ended || r.detached != turn {
		c.mu.Unlock()
		return
	}
	now, expires := time.Now(), c.expiry()
	switch {
	case !expires.IsZero() && !now.Before(expires):
		c.end(wire.CloseDisconnect, "expired", transport.Expired)
	case now.Before(r.until): // something has given it more time
		r.grace.Reset(c.graceLeft())
		c.mu.Unlock()
		return
	default:
		c.end(wire.CloseSlow, "too late", transport.Gone)
	}
	c.queue.clear()
	c.mu.Unlock()
	c.tellEnd()
}

// addCandidate makes n a candidate of the client, and greets it. It reports false
// if secret is not good or the client has ended.
func (c *client) addCandidate(n *connection, secret string) bool {
	fresh := randomText(24)
	c.server.index(fresh, c)
	c.upstream.Lock() // what the hello says to have been received is where the numbers go on
	c.mu.Lock()
	ok := c.keeps && !c.ended && c.knows(secret)
	if ok {
		n.c = c
		n.up = c.received.Load()
		due := time.Now().Add(unusedWait)
		n.unused.Store(due.UnixNano())
		r := c.uncommon()
		if c.conn == nil && r.until.Before(due) {
			r.until = due
		}
		if i := r.find(secret); i >= 0 { // it is in use: others go first when there are too many
			used := r.issued[i]
			r.issued = append(slices.Delete(r.issued, i, i+1), used)
		}
		r.hellos++
		r.issued = append(r.issued, issued{r.hellos, fresh, n.line.transport() == transport.SSE, n})
		n.sendControl(c.server.hello(c, fresh, true))
		c.prune()
	}
	c.mu.Unlock()
	c.upstream.Unlock()
	if !ok {
		c.server.unindex(fresh)
	}
	return ok
}

// knows reports whether secret is good. c.mu is held.
func (c *client) knows(secret string) bool {
	return secret == c.secret || c.rare.find(secret) >= 0
}

// find returns where secret is among the issued, or -1.
func (r *rare) find(secret string) int {
	if r == nil {
		return -1
	}
	return slices.IndexFunc(r.issued, func(is issued) bool { return is.secret == secret })
}

// admits is knows for who does not hold c.mu.
func (c *client) admits(secret string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.knows(secret)
}

// prune bounds the candidates, and the secrets of former ones. c.mu is held.
func (c *client) prune() {
	r := c.rare
	live := 0
	for _, is := range slices.Backward(r.issued) {
		if !is.live() {
			continue
		}
		if live++; live > maxCandidates {
			is.conn.dismiss(wire.CloseReplaced, "not used")
		}
	}
	for len(r.issued) > maxIssued {
		i := slices.IndexFunc(r.issued, func(is issued) bool { return !is.live() })
		c.server.unindexLater(r.issued[i].secret)
		r.issued = slices.Delete(r.issued, i, i+1)
	}
}

// candidateBroke takes note that a connection which does not carry the client
// has broken. If it was a candidate, its secret stays good. c.mu is held.
func (c *client) candidateBroke(n *connection) {
	if c.rare == nil {
		return
	}
	for i := range c.rare.issued {
		if c.rare.issued[i].conn == n {
			c.rare.issued[i].conn = nil
		}
	}
}

// acked takes an acknowledgement of the connection that carries c. c.mu is held.
func (c *client) acked(received uint64) error {
	if !c.queue.acknowledge(received) {
		return errBeyond
	}
	return nil
}

// promote makes a candidate the one connection that carries frames, from the
// one after those that the client has received. The former connection ends. A
// client that promotes knows of no older hello any more; of a newer one it may
// have spoken already, if this word was late. What is no candidate is ignored.
// c.upstream and c.mu are held.
func (c *client) promote(n *connection, received uint64) error {
	if c.rare == nil || n.ending {
		return nil
	}
	i := slices.IndexFunc(c.rare.issued, func(is issued) bool { return is.conn == n })
	if i < 0 {
		return nil
	}
	return c.promoteIssued(i, received)
}

// promoteIssued is promote of the i-th secret. If its connection has broken, the
// client is detached by that.
func (c *client) promoteIssued(i int, received uint64) error {
	if received > c.queue.sent() {
		return errBeyond
	}
	r := c.rare
	chosen := r.issued[i]
	c.server.unindexLater(c.secret)
	if c.conn != nil {
		c.conn.moved()
	}
	r.issued = slices.DeleteFunc(r.issued, func(is issued) bool {
		if is.number < chosen.number {
			c.server.unindexLater(is.secret)
			if is.live() {
				is.conn.moved()
			}
		}
		return is.number <= chosen.number
	})
	c.secret, c.stream, c.conn = chosen.secret, chosen.stream, chosen.conn
	if received < c.queue.base {
		c.queue.clear()
		c.end(wire.CloseSlow, "too much was missed", transport.Gone)
		c.server.tasks.Go(c.tellEnd)
		return nil
	}
	c.queue.acknowledge(received)
	c.queue.rewind()
	if !chosen.live() {
		c.detach()
		return nil
	}
	c.stopGrace()
	c.conn.unused.Store(0)
	c.conn.rouse()
	return nil
}

// moved ends a connection in favour of another. c.mu is held.
func (n *connection) moved() {
	n.sendControl(wire.NewMoved())
	n.dismiss(wire.CloseReplaced, "moved")
}

// use takes the secret of a POST and what it acknowledges, and returns the
// stream that the secret belongs to, nil if that is broken. The error is
// errNotKnown or errBeyond. c.upstream is held.
func (c *client) use(secret string, received uint64) (*connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, errNotKnown
	}
	if secret == c.secret {
		if !c.stream {
			return nil, errNotKnown // its frames come on the WebSocket
		}
		return c.conn, c.acked(received)
	}
	i := c.rare.find(secret)
	if i < 0 || !c.rare.issued[i].stream {
		return nil, errNotKnown
	}
	if err := c.promoteIssued(i, received); err != nil {
		return nil, err
	}
	if c.ended {
		return nil, errNotKnown
	}
	return c.conn, nil
}
