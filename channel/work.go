package channel

import (
	"context"
	"runtime/debug"

	"github.com/go-chime/chime/internal/wire"
)

// run does what the inbox has to do, until nothing is left.
func (in *inbox) run() {
	done := false
	defer func() {
		if !done { // runtime.Goexit in a handler ends this goroutine, but not what waits
			in.client.hub.tasks.Go(in.run)
		}
	}()
	for {
		j, s, ok := in.next()
		if !ok {
			done = true
			return
		}
		in.work(s, j)
	}
}

func (in *inbox) work(s *Socket, j job) {
	f := j.frame
	switch {
	case j.why != "":
		if s != nil && j.ends(s) { // else that join has already ended, and s is a later one
			in.close(s, j)
		}
	case f.Event == wire.EventJoin:
		in.join(s, f)
	case s == nil && f.Event == wire.EventLeave:
		in.client.left(f)
	case s == nil:
		in.client.refuse(f, wire.Ref{}, unmatched)
	case !f.JoinRef.Null() && f.JoinRef != s.joinRef:
		// It belongs to an earlier join, and is dropped without an answer, as in
		// Phoenix: that join has ended for its client too.
	case f.Event == wire.EventLeave:
		in.end(s, Left, wire.NewReply(s.joinRef, f.Ref, f.Topic, "ok", []byte("{}")), s.frame(wire.EventClose, nil))
	default:
		in.message(s, f)
	}
}

// close ends s for a reason of the server's.
func (in *inbox) close(s *Socket, j job) {
	switch {
	case j.text != nil:
		s.fail(j.text)
		in.end(s, j.why)
	case j.why == Left: // by its channel
		in.end(s, j.why, s.frame(wire.EventClose, nil))
	default:
		in.end(s, j.why)
	}
}

// message hands one message to the channel and answers it.
func (in *inbox) message(s *Socket, f wire.Frame) {
	m := Message{Topic: f.Topic, Event: f.Event, Payload: f.Payload, Binary: f.Binary, ref: f.Ref, joinRef: f.JoinRef}
	if !validEvent(f.Event) {
		in.client.logRefusal(f, invalid)
		_ = s.Reply(m, nil, Refuse(invalid))
		return
	}
	crashed := true
	// Replying is guarded too: MarshalJSON of the reply and the methods of the
	// error are the application's code, and may panic.
	in.guard("HandleMessage", f.Event, func() {
		reply, err := s.route.channel.HandleMessage(s.context(), s, m)
		if err != nil || reply != Later {
			_ = s.Reply(m, reply, err)
		}
		crashed = false
	}, func() {
		if crashed {
			s.fail(reason("channel_crash"))
			in.end(s, Panicked)
		}
	})
}

// end takes s out of its topic, sends the last frames, and calls HandleLeave, which
// may end the goroutine: what must follow is deferred.
func (in *inbox) end(s *Socket, why Reason, last ...*wire.Message) {
	s.leave()
	in.unseat(why == Replaced)
	for _, m := range last {
		in.client.send(m)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.context()), leaveWait)
	defer cancel()
	s.cancel()
	in.guard("HandleLeave", string(why),
		func() { s.route.channel.HandleLeave(ctx, s, why) },
		func() { in.client.hub.topics.exit(s.place) })
}

// guard calls f, the application's code, and then then, even if f has panicked or
// ended the goroutine by runtime.Goexit, as t.FailNow does. A Goexit can't be
// stopped: then is called on the way out, and another goroutine goes on with run.
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
