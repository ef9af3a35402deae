package nats

import "time"

// clock is that of the leader of a stream, which says when a message was stored: what is
// compared with that is told by it, since clocks of nodes may be minutes off. Between two looks
// at the stream it goes on as this node's does, whatever that one is set to.
type clock struct {
	wall func() time.Time // of this node
	then time.Time        // of the leader, when it was asked
	here time.Time        // of this node then
}

func (c clock) now() time.Time { return c.then.Add(c.wall().Sub(c.here)) }

const (
	together = time.Second      // clocks that are no further apart than this are not corrected
	fresh    = 10 * time.Second // a time of this node no older than this is its present
)

// correct returns what the leader's clock was at a time of this node's, if that has just been.
// Of what happened long ago nobody knows whose clock it was.
func (c clock) correct(at time.Time) time.Time {
	here := c.wall()
	if off := c.now().Sub(here); off.Abs() > together && here.Sub(at).Abs() < fresh {
		return at.Add(off)
	}
	return at
}
