package channel

import (
	"context"
	"runtime/debug"
	"slices"
	"time"

	"github.com/go-chime/chime/internal/wire"
)

// inbox takes what concerns one client in one topic and works it off in order,
// in a goroutine of its own that runs only while there is something to do. It
// outlives a join that is followed by another, which keeps the two in order.
// Its fields are guarded by client.mu; socket is set by the running goroutine only.
type inbox struct {
	client  *client
	topic   string
	jobs    []job
	bytes   int
	index   int32 // in client.inboxes
	running bool
	seated  bool        // counts in client.seats
	socket  *Socket     // the present join, if any
	overdue *time.Timer // cancels the socket whose end has to wait for its handler
}

type job struct {
	frame wire.Frame
	why   Reason  // of an end; "" is a frame
	text  []byte  // payload of the phx_error that goes with an end; nil: none
	of    *Socket // what an end is of; nil: whatever there is then
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

// unseat ends the present join, as far as it is known here. If another waits,
// or has just begun, the place is kept for it.
func (in *inbox) unseat(kept bool) {
	in.client.mu.Lock()
	defer in.client.mu.Unlock()
	in.socket = nil
	if !kept && !slices.ContainsFunc(in.jobs, job.joins) {
		in.rise()
	}
	if in.overdue != nil {
		in.overdue.Stop()
		in.overdue = nil
	}
}

// put appends a frame, or reports that there is no room for it. Then the topic
// ends for this client: the caller fails the socket returned, without the lock.
// If there is none to fail, since it is just joining or its end is among what
// waits, the caller refuses the frame. client.mu is held.
func (in *inbox) put(f wire.Frame) (full bool, failing *Socket) {
	limits := &in.client.hub.limits
	size := sizeOf(f)
	if len(in.jobs) >= limits.InboxMessages || in.bytes+size > limits.QueueBytes && len(in.jobs) > 0 {
		s := in.socket
		switch {
		case f.Event == wire.EventLeave && in.joinWaits():
			// Of a join that waits: to lose it would let in who has left. No
			// other leave gets here until there is another join, which does not.
		case s == nil || slices.ContainsFunc(in.jobs, func(j job) bool { return j.ends(s) }):
			return true, nil // what waits may be a join, whose client would wait for ever
		default:
			in.finish(job{why: Slow, text: reason(overloaded), of: s})
			return true, s
		}
	}
	in.bytes += size
	in.add(job{frame: f})
	return false, nil
}

// joinWaits reports whether a join waits that no leave waits behind. client.mu is held.
func (in *inbox) joinWaits() bool {
	for _, j := range slices.Backward(in.jobs) {
		switch {
		case j.joins():
			return true
		case j.why != "", j.frame.Event == wire.EventLeave:
			return false
		}
	}
	return false
}

// sizeOf is what a frame takes in an inbox: all that its client can make large.
func sizeOf(f wire.Frame) int {
	return len(f.JoinRef.String()) + len(f.Ref.String()) + len(f.Topic) + len(f.Event) + len(f.Payload) + len(f.Binary)
}

// finish appends an end. An end that is a verdict on the client throws away
// what waits before it. client.mu is held.
func (in *inbox) finish(j job) {
	if j.why == Kicked || j.why == Slow {
		in.jobs, in.bytes = nil, 0
	}
	in.add(j)
}

// add appends a job. client.mu is held.
func (in *inbox) add(j job) {
	in.jobs = append(in.jobs, j)
	in.announce(j)
	in.start()
}

// interrupt puts an end before all that waits, so that what was sent to a join
// that is over for the server is answered so. client.mu is held.
func (in *inbox) interrupt(end job) {
	in.jobs = slices.Insert(in.jobs, 0, end)
	in.start()
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
	case j.text != nil: // fail cancels it, once the client has been told
	case j.why == Kicked || j.why == Slow:
		in.socket.cancel()
	default:
		in.socket.hasten()
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

// joins reports whether the job is a join.
func (j job) joins() bool { return j.why == "" && j.frame.Event == wire.EventJoin }

// ends reports whether s is over when j is done.
func (j job) ends(s *Socket) bool {
	f := j.frame
	return j.why != "" && (j.of == nil || j.of == s) || f.Event == wire.EventJoin ||
		f.Event == wire.EventLeave && (f.JoinRef.Null() || f.JoinRef == s.joinRef)
}

// run works the inbox off, and gives it up when nothing is left to come.
func (in *inbox) run() {
	c := in.client
	done := false
	defer func() {
		if !done { // runtime.Goexit in a handler ends this goroutine, but not what waits
			c.hub.tasks.Go(in.run)
		}
	}()
	for {
		c.mu.Lock()
		if len(in.jobs) == 0 {
			in.running = false
			in.jobs = nil
			if in.socket == nil {
				in.rise() // kept for a join that was thrown away with its client
				c.inboxes.remove(in)
			}
			c.mu.Unlock()
			done = true
			return
		}
		j := in.jobs[0]
		in.jobs[0] = job{}
		in.jobs = in.jobs[1:]
		in.bytes -= sizeOf(j.frame)
		s := in.socket
		c.mu.Unlock()
		in.work(s, j)
	}
}

func (in *inbox) work(s *Socket, j job) {
	f := j.frame
	switch {
	case j.why != "":
		if s != nil && j.ends(s) { // else that join has ended by itself, and s follows it
			var say func()
			switch {
			case j.text != nil:
				s.fail(j.text)
			case j.why == Left: // by its channel
				say = func() { s.say(wire.EventClose, []byte("{}")) }
			}
			in.end(s, j.why, say)
		}
	case f.Event == wire.EventJoin:
		in.join(s, f)
	case s == nil && f.Event == wire.EventLeave:
		in.client.left(f)
	case s == nil:
		in.client.refuse(f, wire.Ref{}, unmatched)
	case !f.JoinRef.Null() && f.JoinRef != s.joinRef:
		// Of an earlier join, and silently dropped, as in Phoenix: that join is
		// over for its client too.
	case f.Event == wire.EventLeave:
		in.end(s, Left, func() {
			in.send(wire.NewReply(s.joinRef, f.Ref, f.Topic, "ok", []byte("{}")))
			s.say(wire.EventClose, []byte("{}"))
		})
	default:
		in.message(s, f)
	}
}

func (in *inbox) send(m *wire.Message) { _ = in.client.cs.Send(m, "") }

// message hands one message to the channel and answers it.
func (in *inbox) message(s *Socket, f wire.Frame) {
	m := Message{Topic: f.Topic, Event: f.Event, Payload: f.Payload, Binary: f.Binary, ref: f.Ref, joinRef: f.JoinRef}
	if !validEvent(f.Event) {
		in.client.logRefusal(f, invalid)
		_ = s.Reply(m, nil, Refuse(invalid))
		return
	}
	crashed := true
	// Replying belongs to it: the reply's MarshalJSON and the error's methods
	// are the application's code, and may panic too.
	in.guard("HandleMessage", f.Event, func() {
		reply, err := s.route.channel.HandleMessage(s.context(), s, m)
		if err != nil || reply != Later {
			_ = s.Reply(m, reply, err)
		}
		crashed = false
	}, func() {
		if crashed {
			s.fail(reason("channel_crash"))
			in.end(s, Panicked, nil)
		}
	})
}

// end takes s out of its topic, says so, and calls HandleLeave. That may end the
// goroutine: what must follow is deferred.
func (in *inbox) end(s *Socket, why Reason, say func()) {
	s.leave(nil)
	in.unseat(why == Replaced)
	if say != nil {
		say()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.context()), leaveWait)
	defer cancel()
	s.cancel()
	in.guard("HandleLeave", string(why),
		func() { s.route.channel.HandleLeave(ctx, s, why) },
		func() { in.client.hub.exit(s.topic) })
}

// guard calls f, the application's code, and then what follows, even if f has
// panicked or ended the goroutine by runtime.Goexit, as t.FailNow does. That can
// not be stopped: what follows runs on the way out, and run has a successor.
func (in *inbox) guard(handler, what string, f, then func()) {
	returned := false
	defer func() {
		if !returned {
			v := recover()
			if v == nil {
				v = "runtime.Goexit"
			}
			in.client.hub.log.Error("handler panicked", "handler", handler, "topic", in.topic, "of", what,
				"client", in.client.cs.ID(), "panic", v, "stack", string(debug.Stack()))
		}
		then()
	}()
	f()
	returned = true
}

// fail tells the client that its join has ended by an error; it rejoins. The
// handler is cancelled after that: its reply must not come before the error.
func (s *Socket) fail(text []byte) {
	s.leave(func() { s.say(wire.EventError, text) })
	s.cancel()
}
