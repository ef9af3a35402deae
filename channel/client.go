package channel

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// client is the channel side of a client socket: an inbox for each topic.
type client struct {
	hub *Hub
	cs  transport.ClientSocket

	replays sync.Mutex // held while a part of a replay is queued, so that two don't take the same room

	mu      sync.Mutex // guards what follows, and what is in the inboxes
	inboxes inboxes
	seats   int // inboxes that are joined or about to be; Limits.Topics bounds them
	gone    bool
	held    atomic.Pointer[lists]
}

// ends reports whether something that ends s waits in its inbox.
func (c *client) ends(s *Socket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.inboxes.find(s.topic.name)
	return in == nil || slices.ContainsFunc(in.jobs, func(j job) bool { return j.ends(s) })
}

// inboxes finds an inbox by its topic. Most clients are in a few topics, and
// a map would cost each of them more than all else here.
type inboxes struct {
	list  []*inbox
	index map[string]int // in list; nil while that is short
}

const shortList = 16

func (ins *inboxes) find(topic string) *inbox {
	if ins.index != nil {
		if i, ok := ins.index[topic]; ok {
			return ins.list[i]
		}
		return nil
	}
	for _, in := range ins.list {
		if in.topic == topic {
			return in
		}
	}
	return nil
}

func (ins *inboxes) add(in *inbox) {
	in.index = int32(len(ins.list))
	ins.list = append(ins.list, in)
	switch {
	case ins.index != nil:
		ins.index[in.topic] = int(in.index)
	case len(ins.list) > shortList:
		ins.index = map[string]int{}
		for i, in := range ins.list {
			ins.index[in.topic] = i
		}
	}
}

func (ins *inboxes) remove(in *inbox) {
	last := len(ins.list) - 1
	moved := ins.list[last]
	moved.index = in.index
	ins.list[in.index] = moved
	ins.list[last] = nil
	ins.list = ins.list[:last]
	if ins.index != nil {
		ins.index[moved.topic] = int(moved.index)
		delete(ins.index, in.topic)
	}
}

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
		c.refuse(f, f.JoinRef, tooMany)
		return
	}
	full, failing := in.put(f)
	if anew && !full {
		in.sit()
	}
	c.mu.Unlock()
	if failing != nil {
		failing.fail(reason(overloaded))
	}
	switch {
	case !full:
	case f.Event == wire.EventLeave:
		c.left(f) // by that it has
	case failing == nil || f.Event == wire.EventJoin:
		c.refuse(f, f.JoinRef, overloaded)
	}
}

// left answers a leave of a topic that the client is not in.
func (c *client) left(f wire.Frame) {
	_ = c.cs.Send(wire.NewReply(f.JoinRef, f.Ref, f.Topic, "ok", []byte("{}")), "")
}

// outside decides on a frame for a topic that the client is not in: a join
// gets an inbox, all else an answer, which is given without the lock. c.mu is held.
func (c *client) outside(f wire.Frame) (in *inbox, answer func()) {
	refuse := func(joinRef wire.Ref, why string) func() {
		return func() { c.refuse(f, joinRef, why) }
	}
	switch {
	case c.gone:
		return nil, func() {}
	case f.Event == wire.EventLeave:
		return nil, func() { c.left(f) }
	case f.Event != wire.EventJoin || !wire.ValidName(f.Topic):
		return nil, refuse(wire.Ref{}, unmatched)
	case c.full():
		return nil, refuse(f.JoinRef, tooMany)
	}
	if r, _ := c.hub.routes.match(f.Topic); r == nil {
		return nil, refuse(wire.Ref{}, unmatched)
	}
	in = &inbox{client: c, topic: f.Topic}
	c.inboxes.add(in)
	in.sit()
	return in, nil
}

// refuse answers a frame with an error of the hub's own.
func (c *client) refuse(f wire.Frame, joinRef wire.Ref, why string) {
	c.logRefusal(f, why)
	_ = c.cs.Send(wire.NewReply(joinRef, f.Ref, f.Topic, "error", reason(why)), "")
}

// logRefusal is for the sake of clients whose dialect can't be told.
func (c *client) logRefusal(f wire.Frame, why string) {
	c.hub.log.Debug("frame refused", "reason", why, "topic", f.Topic, "event", f.Event, "client", c.cs.ID())
}

// Reasons of the hub's own.
const (
	invalid    = "invalid event"
	unmatched  = "unmatched topic"
	tooMany    = "too many channels joined"
	overloaded = "overloaded"
)

// full reports whether the client may join no other topic. Topics that it has
// left do not count, though their HandleLeave may still run; but a client that
// joins and leaves faster than that must not pile them up. c.mu is held.
func (c *client) full() bool {
	most := c.hub.limits.Topics
	return c.seats >= most || len(c.inboxes.list) >= 2*most
}

// Closed implements transport.Receiver: every topic is left.
func (c *client) Closed(why Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, in := range c.inboxes.list {
		in.finish(job{why: why})
	}
}

// leaveWait is how long what a client had sent before it left may take, and
// then how long HandleLeave may.
const leaveWait = 5 * time.Second
