package channel

import (
	"context"
	"log/slog"
	"runtime/debug"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/wire"
)

// worker does what an inbox has to do, in a goroutine of its own that runs only
// while there is something. All of the application's code is called by it, without
// a lock.
type worker struct{ *inbox }

// run does what the inbox has to do, until nothing is left.
func (w worker) run() {
	makeRoom(w.inbox == nil) // never
	done := false
	defer func() {
		if !done { // runtime.Goexit in a handler ends this goroutine, but not what waits
			w.client.hub.tasks.Go(w.run)
		}
	}()
	for {
		j, s := w.next()
		if j == nil {
			done = true
			return
		}
		w.work(s, j)
		*j = job{}
	}
}

// makeRoom has the stack of a goroutine that has just begun grow to 8 KiB, by its frame
// alone, since what is in that is never needed. Most handlers want more than the 2 KiB it
// begins with: grown step by step below them, all that calls them is copied each time.
//
//go:noinline
func makeRoom(needed bool) int {
	if !needed {
		return 0
	}
	var room [4 << 10]byte
	return copy(room[1:], room[:])
}

// work does one job.
func (w worker) work(s *Socket, j *job) {
	f := &j.frame
	switch {
	case j.why != "":
		if s != nil && j.ends(s) { // else that join has already ended, and s is a later one
			w.close(s, j)
		}
	case f.Event == wire.EventJoin:
		w.join(s, f)
	case s == nil && f.Event == wire.EventLeave:
		w.client.left(f)
	case s == nil:
		w.client.refuse(f, wire.Ref{}, unmatched)
	case !f.JoinRef.Null() && f.JoinRef != s.joinRef:
		// It belongs to an earlier join, and is dropped without an answer, as in
		// Phoenix: that join has ended for its client too.
	case f.Event == wire.EventLeave:
		w.leave(s, f)
	case f.Event == wire.EventHistory:
		w.lookBack(s, f)
	default:
		w.message(s, f)
	}
}

// leave ends s, whose client has left.
func (w worker) leave(s *Socket, f *wire.Frame) {
	w.end(s, Left, wire.NewReply(s.joinRef, f.Ref, f.Topic, "ok", []byte("{}")), s.frame(wire.EventClose, nil))
}

// close ends s for a reason of the server's.
func (w worker) close(s *Socket, j *job) {
	switch {
	case j.text != nil:
		s.fail(j.text)
		w.end(s, j.why)
	case j.why == Left: // by its channel
		w.end(s, j.why, s.frame(wire.EventClose, nil))
	default:
		w.end(s, j.why)
	}
}

// message hands one message to the channel and answers it.
func (w worker) message(s *Socket, f *wire.Frame) {
	m := messageOf(f)
	if !s.route.takes(f.Event) {
		w.client.logRefusal(f, invalid)
		_ = s.reply(m, nil, Refuse(invalid))
		return
	}
	var err error
	if m.Key, m.Payload, err = takeKey(f.Payload, s.Identity()); err != nil {
		w.client.logRefusal(f, err.Error())
		_ = s.reply(m, nil, Refuse(err.Error()))
		return
	}
	// Replying is guarded too: MarshalJSON of the reply and the methods of the
	// error are the application's code, and may panic.
	w.guarded(s, call{"HandleMessage", &s.ending, &s.route.stats.HandleMessage}, f.Event, func() {
		reply, err := s.route.channel.HandleMessage(s.context(), s, m)
		switch {
		case err != nil || reply != Later:
			_ = s.reply(m, reply, err)
		case !m.ref.Null():
			w.owe(s)
		}
	})
}

// guarded calls a handler of a member, whose join ends if that panics.
func (w worker) guarded(s *Socket, c call, what string, f func()) {
	crashed := true
	w.guard(c, what, func() {
		f()
		crashed = false
	}, func() {
		if crashed {
			s.fail(reason(channelCrash))
			w.end(s, Panicked)
		}
	})
}

// end takes s out of its topic, sends the last frames, and calls HandleLeave, which
// may end the goroutine: what must follow is deferred.
func (w worker) end(s *Socket, why Reason, last ...*wire.Message) {
	s.leave()
	w.unseat(why == Replaced)
	for _, m := range last {
		w.client.send(m)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.context()), leaveWait)
	defer cancel()
	s.ending.cancel()
	w.guard(call{"HandleLeave", cancelFunc(cancel), &s.route.stats.HandleLeave}, string(why),
		func() { s.route.channel.HandleLeave(ctx, s, why) },
		func() { w.client.hub.topics.exit(s.place) })
}

// guard calls f, the application's code, and then then, even if f has panicked or
// ended the goroutine by runtime.Goexit, as t.FailNow does. A Goexit can't be
// stopped: then is called on the way out, and another goroutine goes on with run.
func (w worker) guard(c call, what string, f, then func()) {
	ended := true
	defer func() {
		if ended {
			then()
		}
	}()
	w.try(c, what, f)
	ended = false
	then() // not when deferred: the stack of this goroutine would have to grow for it
}

// try calls f, and returns even if f has panicked.
func (w worker) try(c call, what string, f func()) {
	returned, began := false, mono.Now()
	w.client.hub.running.began(w.inbox, w.topic, c)
	defer func() {
		w.client.hub.running.returned(w.inbox)
		c.stats.Done(mono.Now().Sub(began), returned)
		if !returned {
			logPanic(w.client.hub.log.With("client", w.client.cs.ID()), c.handler, w.topic, what, recover())
		}
	}()
	f()
	returned = true
}

// logPanic logs code of the application that has panicked with v, or ended its goroutine
// if v is nil.
func logPanic(log *slog.Logger, handler, topic, of string, v any) {
	if v == nil {
		v = "runtime.Goexit"
	}
	log.Error("handler panicked", "handler", handler, "topic", topic, "of", of, "panic", v, "stack", string(debug.Stack()))
}
