package channel

import (
	"context"
	"errors"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/wire"
)

// leave takes s out of its topic: after the frames given, which are sent if the
// client had joined, nothing of the topic reaches it.
func (s *Socket) leave(last ...*wire.Message) {
	s.place.Leave(&s.member)
	s.outbox.close()
	if s.here != nil {
		s.place.presence.Leave(s.here) // after that: it is not told of its own leave
	}
	s.sender.leave(s.client().cs, last...)
}

// frame is one of the last frames of a join.
func (s *Socket) frame(event string, payload []byte) *wire.Message {
	if payload == nil {
		payload = []byte("{}")
	}
	return wire.NewFrame(s.joinRef, s.joinRef, s.Topic(), event, payload)
}

// fail ends the join with a phx_error, after which the client joins again. The
// handler is cancelled after that: its reply must not come before the error.
func (s *Socket) fail(text []byte) {
	s.leave(s.frame(wire.EventError, text))
	s.ending.cancel()
}

// failEarly ends the join at once, before all that waits for its handlers. No lock is held.
func (s *Socket) failEarly(why Reason, text string) {
	if end := (job{why: why, text: reason(text), of: s}); s.inbox.endEarly(end, s) {
		s.fail(end.text)
	}
}

// owner is a socket as its member knows it.
type owner Socket

func (o *owner) JoinRef() string          { return o.joinRef.String() }
func (o *owner) Context() context.Context { return (*Socket)(o).context() }

// Fail ends the join of a member that can't be sent what it has not had. Its client
// joins again, and reads of the gap.
func (o *owner) Fail(err error) {
	s := (*Socket)(o)
	if s.context().Err() != nil {
		return // it already ends, for another reason
	}
	if errors.Is(err, fanout.ErrGap) {
		s.route.stats.Overruns.Add(1)
		s.hub().log.Debug("history no longer has what a member was to be sent", "topic", s.Topic(), "client", s.ID())
		s.failEarly(Slow, "overrun")
		return
	}
	if errors.Is(err, fanout.ErrUnread) { // the join has logged why
		s.hub().log.Debug("a member that has joined without its history comes back for it", "topic", s.Topic(), "client", s.ID())
	} else {
		s.hub().log.Error("history could not be read for a member", "topic", s.Topic(), "client", s.ID(), "error", err)
	}
	s.failEarly(Unread, "history unavailable")
}
