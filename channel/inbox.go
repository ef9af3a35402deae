package channel

import (
	"time"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/wire"
)

// inbox has what is to be done for one client in one topic, in order, and has a
// worker do it. It outlives a join that is followed by another, which keeps the two
// in order. Its fields are guarded by client.mu; only the worker sets socket. It
// knows nothing of members and positions, and calls nothing of the application's.
type inbox struct {
	client  *client
	topic   string
	backlog backlog
	index   int32 // in client.inboxes
	running bool
	seated  bool        // counts in client.seats
	placed  bool        // socket has its topic: from then on it can be failed
	socket  *Socket     // the present join, if any
	owed    int32       // messages of it to which Socket.Reply is to follow; less than none where that was first
	overdue *time.Timer // cancels the socket, whose end waits for a handler
}

// sit and rise count the inbox among the client's topics. client.mu is held.
func (in *inbox) sit() {
	if !in.seated {
		in.seated = true
		in.client.seats++
	}
}

func (in *inbox) rise() {
	if in.seated {
		in.seated = false
		in.client.seats--
	}
}

// put appends a frame, or reports that there is no room for it. In either case a join
// may end by that, of this inbox or of another: the caller fails the socket returned,
// without the lock. If there is no room and none is returned, since the client is still
// joining or the end of its join already waits, the caller refuses the frame. client.mu
// is held.
func (in *inbox) put(f wire.Frame) (full bool, failing *Socket) {
	j, c := job{frame: f}, in.client
	switch {
	case len(in.backlog.jobs) >= c.hub.limits.InboxMessages:
		full, failing = in.overflow(f)
	case c.bytes > 0 && c.bytes+f.Size() > c.hub.limits.InboxBytes:
		// The topic that takes most of the room is the one to blame: a handler that
		// does not go on must not cost the client its other topics.
		if most := c.inboxes.heaviest(); most.backlog.bytes <= in.backlog.bytes+f.Size() {
			full, failing = in.overflow(f)
		} else {
			failing = most.overload()
			full = failing == nil
		}
	}
	if !full {
		in.add(j)
	}
	return full, failing
}

// overflow decides what becomes of a frame for which there is no room in this inbox. It
// is added all the same if full is false.
func (in *inbox) overflow(f wire.Frame) (full bool, failing *Socket) {
	if f.Event == wire.EventLeave && in.backlog.joinWaits() {
		// It belongs to a join that waits: without it a client that has left would
		// be let in. No other leave gets here before another join, which does not.
		return false, nil
	}
	return true, in.overload()
}

// overload ends the present join, and returns its socket, or nil if there is none that
// can be failed or that does not end anyway. Then nothing that waits is dropped: the
// client of a join waits for its reply. client.mu is held.
func (in *inbox) overload() *Socket {
	s := in.socket
	if s == nil || !in.placed || in.backlog.ends(s) {
		return nil
	}
	in.finish(job{why: Slow, text: reason(overloaded), of: s})
	return s
}

// finish appends an end. If the client was kicked or is slow, what waits before it
// is dropped. client.mu is held.
func (in *inbox) finish(j job) {
	if j.why == Kicked || j.why == Slow {
		in.backlog.clear(&in.client.bytes)
	}
	in.add(j)
}

// add appends a job. client.mu is held.
func (in *inbox) add(j job) {
	in.backlog.push(j, &in.client.bytes)
	in.announce(j)
	in.start()
}

// endEarly puts an end of s before all that waits: a channel that has ended a join
// must not be handed another message of it. It reports false if s ends anyway.
func (in *inbox) endEarly(end job, s *Socket) bool {
	in.client.mu.Lock()
	defer in.client.mu.Unlock()
	if in.socket != s || in.backlog.endsFirst(s) {
		return false
	}
	in.backlog.pushFront(end, &in.client.bytes)
	in.start()
	in.expect()
	return true
}

func (in *inbox) start() {
	if !in.running {
		in.running = true
		in.client.hub.tasks.Go(worker{in}.run)
	}
}

// announce prepares the present join for a job that will end it: a handler that
// still runs has some time before its context is cancelled, or none if the client
// was kicked or is slow. client.mu is held.
func (in *inbox) announce(j job) {
	switch {
	case in.socket == nil || !j.ends(in.socket):
	case j.text != nil: // fail cancels it, after the phx_error is sent
	case j.why == Kicked || j.why == Slow:
		in.socket.ending.cancel()
	default:
		in.expect()
	}
}

// expect bounds how long the end of the present join waits for a handler that
// still runs. client.mu is held.
func (in *inbox) expect() {
	if in.overdue != nil {
		return
	}
	wait := leaveWait
	if due := in.client.due; due != 0 {
		wait = due.Sub(mono.Now())
	}
	in.overdue = time.AfterFunc(wait, in.socket.ending.cancel)
}

// begin makes s the present join, and prepares it for an end that already waits.
func (in *inbox) begin(s *Socket) {
	in.client.mu.Lock()
	defer in.client.mu.Unlock()
	in.socket = s
	for _, j := range in.backlog.jobs {
		in.announce(j)
	}
	if in.client.due != 0 {
		in.expect()
	}
}

// owe takes note that a reply to a message of s is to follow, and pay that it did.
func (in *inbox) owe(s *Socket) { in.replies(s, 1) }
func (in *inbox) pay(s *Socket) { in.replies(s, -1) }

// paid looks whether this was the last answer that somebody waits for. client.mu is held.
func (in *inbox) paid() {
	if c := in.client; c.answered != nil && !c.inboxes.busy() {
		c.rest()
	}
}

func (in *inbox) replies(s *Socket, n int32) {
	in.client.mu.Lock()
	defer in.client.mu.Unlock()
	if in.socket == s { // else nobody waits for it
		in.owed += n
		in.paid()
	}
}

// place takes note that the present join has its topic.
func (in *inbox) place() {
	in.client.mu.Lock()
	defer in.client.mu.Unlock()
	in.placed = true
}

// unseat ends the present join. If another waits or has just begun, the inbox still
// counts among the client's topics.
func (in *inbox) unseat(kept bool) {
	in.client.mu.Lock()
	defer in.client.mu.Unlock()
	in.socket, in.placed, in.owed = nil, false, 0
	if !kept && !in.backlog.joins() {
		in.rise()
	}
	if in.overdue != nil {
		in.overdue.Stop()
		in.overdue = nil
	}
}

// next takes out a job, and returns the socket it is for. Without a job, nil, the inbox
// stops running, and is removed if its client is not in the topic.
func (in *inbox) next() (*job, *Socket) {
	c := in.client
	c.mu.Lock()
	defer c.mu.Unlock()
	j := in.backlog.pop(&in.client.bytes)
	if j == nil {
		in.running = false
		if in.socket == nil {
			in.rise() // it may have been kept for a join that was dropped
			c.inboxes.remove(in)
		}
		in.paid()
	}
	return j, in.socket
}
