package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/wire"
)

// OutgoingFunc decides what one client is sent of a broadcast. It returns the payload for
// that client, as Socket.Push takes it, or m.Payload as it is; or false: then the client
// is sent nothing.
//
// It is called for one client and one message after the other, but may run at the same
// time as the handlers of that client. While it has not returned, only what its client is
// to be sent in this topic waits. Ctx is that of the handlers.
type OutgoingFunc func(ctx context.Context, s *Socket, m Message) (payload any, send bool)

// Outgoing has f decide what each client is sent of broadcasts with one of these events:
// live, replayed, caught up, or in a page of older messages. Pushes and replies are not
// asked about. A retained message that a client is not sent moves its position all the
// same. A draft of such an event is not shown while it grows. If f panics, or what it
// returns can't be encoded, the join of that client ends with channel_crash.
//
// Such a broadcast is encoded for each client, in a goroutine of its own: the documents say
// what that costs. Broadcasts keep their order, but a reply or push may overtake them. If
// 512 that are not retained wait for f, or more than a queue may have
// (transport.Limits.QueueBytes), the join ends with overloaded.
func Outgoing(f OutgoingFunc, events ...string) Option { return outgoing{f, events} }

type outgoing struct {
	f      OutgoingFunc
	events []string
}

func (o outgoing) apply(r *route) error {
	switch {
	case o.f == nil:
		return errors.New("Outgoing: the function is nil")
	case len(o.events) == 0:
		return errors.New("Outgoing: no event: want those that it is for")
	case r.outgoing == nil:
		r.outgoing = map[string]OutgoingFunc{}
	}
	for _, event := range o.events {
		if !validEvent(event) {
			return fmt.Errorf("Outgoing: %w", badEvent(event))
		}
		if r.outgoing[event] != nil {
			return fmt.Errorf("Outgoing: event %q is given twice", event)
		}
		r.outgoing[event] = o.f
	}
	return nil
}

// rewritten returns m as the client of s is to have it: nil is not at all. It reports
// false if that can't be told, and does not return if the application's function ends its
// goroutine. No lock is held.
func (s *Socket) rewritten(m *wire.Message) (out *wire.Message, ok bool) {
	f := s.route.outgoing[m.Event]
	if f == nil {
		return m, true
	}
	returned, began := false, mono.Now()
	defer func() {
		s.route.stats.Outgoing.Done(mono.Now().Sub(began), returned)
		if !returned {
			logPanic(s.hub().log.With("client", s.ID()), "Outgoing", s.Topic(), m.Event, recover())
		}
	}()
	out, err := s.rewrite(f, m)
	returned = true
	if err != nil {
		s.hub().log.Error("what an Outgoing returned can't be sent", "topic", s.Topic(), "client", s.ID(), "error", err)
	}
	return out, err == nil
}

func (s *Socket) rewrite(f OutgoingFunc, m *wire.Message) (*wire.Message, error) {
	given := Message{Topic: m.Topic, Event: m.Event, Payload: m.Payload()}
	if m.Binary() {
		given.Payload, given.Binary = nil, m.Payload()
	}
	payload, send := f(s.context(), s, given)
	if !send {
		return nil, nil //nolint:nilnil // there is none to send
	}
	if unchanged(payload, m.Payload()) {
		return m, nil
	}
	b, err := encode(m.Event, payload)
	if err != nil {
		return nil, err
	}
	return b.message(m.Topic, m.Event, m.Offset), nil
}

// unchanged reports whether a payload is what was given, which then need not be encoded
// again.
func unchanged(payload any, given []byte) bool {
	var data []byte
	switch p := payload.(type) {
	case json.RawMessage:
		data = p
	case Binary:
		data = p
	case []byte: // Message.Binary
		data = p
	}
	return len(data) == len(given) && len(data) > 0 && &data[0] == &given[0]
}
