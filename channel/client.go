package channel

import (
	"slices"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// client is the channel side of a client socket: an inbox for each topic.
type client struct {
	hub   *Hub
	cs    transport.ClientSocket
	pager fanout.Pager

	mu      sync.Mutex // guards what follows, and what is in the inboxes
	inboxes inboxes
	bytes   int   // of frames in all inboxes; Limits.InboxBytes bounds them
	seats   int32 // inboxes that are joined or about to be; Limits.Topics bounds them
	ended   bool

	due      mono.Instant  // when the contexts of handlers end, since the end is near; 0: it is not
	hurry    *time.Timer   // calls cut then, while answers are waited for; nil: they were not
	answered chan struct{} // closed when nothing is to be answered any more; nil: nobody waits for that
}

// send queues a frame. If the client socket ends by that, Closed is called.
func (c *client) send(m *wire.Message) { _ = c.cs.Send(m, "") }

// Receive implements transport.Receiver: it puts the frame into the inbox of
// its topic, or answers at once where there is none.
func (c *client) Receive(f wire.Frame) {
	c.mu.Lock()
	in := c.inboxes.find(f.Topic)
	if in == nil {
		var answer func()
		if in, answer = c.outside(f); in == nil {
			c.mu.Unlock()
			answer()
			return
		}
	}
	anew := f.Event == wire.EventJoin && !in.seated
	if anew && c.full() {
		c.mu.Unlock()
		c.refuse(&f, f.JoinRef, tooMany)
		return
	}
	full, failing := in.put(f)
	if anew && !full {
		in.sit()
	}
	c.mu.Unlock()
	if full {
		c.hub.stats.Refusals.Add(stats.RefusedInbox)
	}
	if failing != nil {
		failing.fail(reason(overloaded))
	}
	switch {
	case !full:
	case f.Event == wire.EventLeave:
		c.left(&f) // the join ends, and with that the client has left
	case failing == nil || f.Event == wire.EventJoin:
		c.refuse(&f, f.JoinRef, overloaded)
	}
}

// left answers a leave of a topic that the client is not in.
func (c *client) left(f *wire.Frame) {
	c.send(wire.NewReply(f.JoinRef, f.Ref, f.Topic, "ok", []byte("{}")))
}

// outside decides on a frame of a topic that the client is not in: a join gets an
// inbox, anything else an answer, to be called without the lock. c.mu is held.
func (c *client) outside(f wire.Frame) (in *inbox, answer func()) {
	refuse := func(joinRef wire.Ref, why string) func() {
		return func() { c.refuse(&f, joinRef, why) }
	}
	switch {
	case c.ended:
		return nil, func() {}
	case f.Event == wire.EventLeave:
		return nil, func() { c.left(&f) }
	case f.Event != wire.EventJoin || !wire.ValidName(f.Topic):
		return nil, refuse(wire.Ref{}, unmatched)
	case c.full():
		return nil, refuse(f.JoinRef, tooMany)
	}
	if c.hub.routes.match(f.Topic) == nil {
		return nil, func() {
			c.hub.nameUnmatched(f.Topic, c.cs.ID())
			c.refuse(&f, wire.Ref{}, unmatched)
		}
	}
	in = &inbox{client: c, topic: f.Topic}
	c.inboxes.add(in)
	in.sit()
	return in, nil
}

// refuse answers a frame with an error of the hub's own.
func (c *client) refuse(f *wire.Frame, joinRef wire.Ref, why string) {
	c.logRefusal(f, why)
	if why == tooMany {
		c.hub.stats.Refusals.Add(stats.RefusedTopics)
	}
	c.send(wire.NewReply(joinRef, f.Ref, f.Topic, "error", reason(why)))
}

// logRefusal is for clients whose dialect has no form for a refusal.
func (c *client) logRefusal(f *wire.Frame, why string) {
	c.hub.log.Debug("frame refused", "reason", why, "topic", f.Topic, "event", f.Event, "client", c.cs.ID())
}

// Reasons of the hub's own.
const (
	invalid    = "invalid event"
	unmatched  = "unmatched topic"
	tooMany    = "too many channels joined"
	overloaded = "overloaded"

	channelCrash = "channel_crash"
)

// full reports whether the client may join no other topic. Topics that it has left
// do not count while their HandleLeave still runs; but a client that joins and
// leaves faster than that must not pile them up. c.mu is held.
func (c *client) full() bool {
	most := c.hub.limits.Topics
	return int(c.seats) >= most || len(c.inboxes.list) >= 2*most
}

// Finish implements transport.Receiver: what waits for a handler, and what one has begun,
// is done and answered, before every join ends.
func (c *client) Finish(within time.Duration) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.due == 0 {
		c.due = mono.Now().Add(min(leaveWait, within))
	}
	if !c.inboxes.busy() {
		return nil
	}
	if c.hurry == nil {
		c.hurry = c.hub.tasks.After(c.due.Sub(mono.Now()), c.cut)
	}
	if c.answered == nil {
		c.answered = make(chan struct{})
	}
	return c.answered
}

// cut ends the contexts of its joins and of the handlers that run, HandleLeave too.
func (c *client) cut() {
	c.mu.Lock()
	inboxes := slices.Clone(c.inboxes.list)
	var ends []canceler
	for _, in := range inboxes {
		if in.socket != nil {
			ends = append(ends, &in.socket.ending)
		}
	}
	c.mu.Unlock()
	for _, end := range ends {
		end.cancel()
	}
	for _, in := range inboxes {
		c.hub.running.cancelOf(in)
	}
}

// rest tells those who wait for it that there is nothing to be answered. c.mu is held.
func (c *client) rest() {
	if c.answered != nil {
		close(c.answered)
		c.answered = nil
	}
}

// Closed implements transport.Receiver: every join ends.
func (c *client) Closed(why Reason) {
	c.pager.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.hurry != nil {
		c.hurry.Stop() // each end has its own time
	}
	for _, in := range c.inboxes.list {
		in.finish(job{why: why})
	}
	c.rest() // no answer can be sent
}

// leaveWait is how long the handlers of what a client sent before it left may take,
// and then how long HandleLeave may.
const leaveWait = 5 * time.Second
