package channel

import (
	"time"

	"github.com/go-chime/chime/internal/wire"
)

// inbox takes what concerns one client in one topic and works it off in order,
// in a goroutine of its own that runs only while there is something to do. It
// outlives a join that is followed by another, which keeps the two in order.
// Its fields are guarded by client.mu; socket is set by the running goroutine
// only. It knows nothing of members and positions.
type inbox struct {
	client  *client
	topic   string
	backlog backlog
	index   int32 // in client.inboxes
	running bool
	seated  bool        // counts in client.seats
	socket  *Socket     // the present join, if any
	overdue *time.Timer // cancels the socket whose end has to wait for its handler
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

// put appends a frame, or reports that there is no room for it. Then the topic
// ends for this client: the caller fails the socket returned, without the lock.
// If there is none to fail, since it is just joining or its end is among what
// waits, the caller refuses the frame. client.mu is held.
func (in *inbox) put(f wire.Frame) (full bool, failing *Socket) {
	j, limits := job{frame: f}, &in.client.hub.limits
	if n := len(in.backlog.jobs); n >= limits.InboxMessages || in.backlog.bytes+j.size() > limits.QueueBytes && n > 0 {
		s := in.socket
		switch {
		case f.Event == wire.EventLeave && in.backlog.joinWaits():
			// Of a join that waits: to drop it would let in a client that has left.
			// No other leave gets here until there is another join, which does not.
		case s == nil || in.backlog.ends(s):
			return true, nil // what waits may be a join, whose client would wait for ever
		default:
			in.finish(job{why: Slow, text: reason(overloaded), of: s})
			return true, s
		}
	}
	in.add(j)
	return false, nil
}

// finish appends an end. An end that is a verdict on the client drops what waits
// before it. client.mu is held.
func (in *inbox) finish(j job) {
	if j.why == Kicked || j.why == Slow {
		in.backlog.clear()
	}
	in.add(j)
}

// add appends a job. client.mu is held.
func (in *inbox) add(j job) {
	in.backlog.push(j)
	in.announce(j)
	in.start()
}

// endEarly puts an end of s before all that waits, so that what was sent to a
// join that is over for the server is answered so: a channel that is done must
// not be handed one more message. It reports false if s ends anyway.
func (in *inbox) endEarly(end job, s *Socket) bool {
	in.client.mu.Lock()
	defer in.client.mu.Unlock()
	if in.socket != s || in.backlog.endsFirst(s) {
		return false
	}
	in.backlog.pushFront(end)
	in.start()
	in.expect()
	return true
}

func (in *inbox) start() {
	if !in.running {
		in.running = true
		in.client.hub.tasks.Go(in.run)
	}
}

// announce tells the present join of a job that will end it: a handler that is
// in its way has some time before its context is cancelled, or none if the
// client was judged. client.mu is held.
func (in *inbox) announce(j job) {
	switch {
	case in.socket == nil || !j.ends(in.socket):
	case j.text != nil: // fail cancels it, once the client has read why
	case j.why == Kicked || j.why == Slow:
		in.socket.cancel()
	default:
		in.expect()
	}
}

// expect bounds how long the end of the present join waits for the handler in
// its way. client.mu is held.
func (in *inbox) expect() {
	if in.overdue == nil {
		in.overdue = time.AfterFunc(leaveWait, in.socket.cancel)
	}
}

// begin makes s the present join, and tells it of what already waits to end it.
func (in *inbox) begin(s *Socket) {
	in.client.mu.Lock()
	defer in.client.mu.Unlock()
	in.socket = s
	for _, j := range in.backlog.jobs {
		in.announce(j)
	}
}

// unseat ends the present join, as far as it is known here. If another waits,
// or has just begun, the place is kept for it.
func (in *inbox) unseat(kept bool) {
	in.client.mu.Lock()
	defer in.client.mu.Unlock()
	in.socket = nil
	if !kept && !in.backlog.joins() {
		in.rise()
	}
	if in.overdue != nil {
		in.overdue.Stop()
		in.overdue = nil
	}
}

// next takes out a job and the socket it is for. Without one the inbox rests, and
// goes if nobody is in the topic.
func (in *inbox) next() (job, *Socket, bool) {
	c := in.client
	c.mu.Lock()
	defer c.mu.Unlock()
	j, ok := in.backlog.pop()
	if !ok {
		in.running = false
		if in.socket == nil {
			in.rise() // kept for a join that was dropped with its client
			c.inboxes.remove(in)
		}
	}
	return j, in.socket, ok
}
