package channel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// Socket is one client in one topic, from its join until it leaves. Its
// methods are safe for concurrent use, and may be called from outside the
// handlers too.
type Socket struct {
	inbox   *inbox
	route   *route
	params  []string
	joinRef wire.Ref
	place   *place
	member  fanout.Member
	outbox  *outbox // nil: the channel has no Outgoing
	sender  sender
	assigns assigns
	here    *presence.Here[*fanout.Member] // nil: the channel has no Presence
	ending  ending
}

// Topic is the topic joined: "chat_room:42".
func (s *Socket) Topic() string { return s.inbox.topic }

// Param is the part of the topic that {name} stands for in the pattern, or, for
// the name "*", what * stands for; "" if the pattern has no such name. Braces
// around the name make no difference.
func (s *Socket) Param(name string) string { return s.route.param(s.params, name) }

// ID is the public name of the client socket, the same in all its topics.
func (s *Socket) ID() string { return s.client().cs.ID() }

// Identity is who the client is, as WithConnect said.
func (s *Socket) Identity() transport.Identity { return s.client().cs.Identity() }

// Transport is what carries the client at present: "websocket", "sse" or "longpoll".
func (s *Socket) Transport() string { return s.client().cs.Transport() }

// Assign keeps a value with this socket, for later handlers of the same client
// and topic.
func (s *Socket) Assign(key string, value any) { s.assigns.set(key, value) }

// Assigned returns what was assigned to key, or nil.
func (s *Socket) Assigned(key string) any { return s.assigns.get(key) }

// Members returns who is in the topic, on all nodes, in no particular order: this client
// too from HandleMember on, and no longer in HandleLeave. With several nodes it asks the
// others: its error is that of chime.Router.Members.
func (s *Socket) Members(ctx context.Context) ([]Member, error) {
	return s.hub().Members(ctx, s.Topic())
}

// Push sends an event to this client only. It never blocks. Payload encodes to a
// JSON object, or is Binary; anything else is an error. In HandleJoined up to 256
// pushes wait for the reply; they are dropped if the join is refused. After the
// leave, or the end of the client socket, it returns ErrLeft.
func (s *Socket) Push(event string, payload any) error {
	b, err := s.route.encode(event, payload)
	if err != nil {
		return err
	}
	return s.sender.push(s.client().cs, b.message(s.Topic(), event, 0).WithRefs(s.joinRef, wire.Ref{}))
}

// Reply answers a message for which HandleMessage returned Later. It may be called
// from any goroutine, once. Reply and err are what HandleMessage would return. After
// the leave, or the end of the client socket, it returns ErrLeft.
func (s *Socket) Reply(m Message, reply any, err error) error {
	if !m.ref.Null() {
		defer s.inbox.pay(s)
	}
	return s.reply(m, reply, err)
}

// reply is Reply, of whoever does not owe one.
func (s *Socket) reply(m Message, reply any, err error) error {
	if m.ref.Null() && err == nil {
		return nil
	}
	r := s.replyTo(m, reply, err)
	if m.ref.Null() { // the client wants no reply, but the log has the error
		return nil
	}
	return s.sender.reply(s.client().cs, r)
}

// replyTo encodes a reply, or what the client may read of an error.
func (s *Socket) replyTo(m Message, reply any, err error) *wire.Message {
	var response []byte
	if err == nil {
		if b, ok := reply.(Binary); ok {
			return wire.NewBinaryReply(s.joinRef, m.ref, s.Topic(), b)
		}
		response, err = wire.EncodeValue(reply)
	}
	if err == nil {
		return wire.NewReply(s.joinRef, m.ref, s.Topic(), "ok", response)
	}
	text, public := readable(err)
	if !public {
		s.hub().log.Log(context.Background(), s.severity(err), "message failed", "topic", s.Topic(), "event", m.Event, "client", s.ID(), "error", err)
	}
	return wire.NewReply(s.joinRef, m.ref, s.Topic(), "error", reason(text))
}

// severity is that of a handler's error which the client may not read. What was not done
// since the client has left meanwhile is no fault of anybody's.
func (s *Socket) severity(err error) slog.Level {
	if s.context().Err() != nil && errors.Is(err, context.Canceled) {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// Rebroadcast sends m to all members of the topic, its sender too, and retains it
// if the channel has a History: once, if m has a Key. It returns when m is retained and
// queued for all. The client may read the error for a payload that is no object.
func (s *Socket) Rebroadcast(ctx context.Context, m Message, options ...SendOption) error {
	var payload any = m.Payload
	if m.Binary != nil {
		payload = Binary(m.Binary)
	} else if len(m.Payload) > 0 && m.Payload[0] != '{' {
		return Refuse("payload is not an object")
	}
	if m.Key != "" {
		options = append([]SendOption{m.Once()}, options...)
	}
	return s.Broadcast(ctx, m.Event, payload, options...)
}

// Broadcast sends an event to all members of the topic, this client too, and
// retains it if the channel has a History and it is not Ephemeral. Payload encodes
// to a JSON object, or is Binary; a json.RawMessage or Binary is not copied, and
// must not be changed after the call. It returns when the event is retained and
// queued for all. Ctx bounds the wait for room in the store, not a commit that has
// begun. After an error no client has seen the event.
func (s *Socket) Broadcast(ctx context.Context, event string, payload any, options ...SendOption) error {
	return s.hub().publisher.broadcast(ctx, s.route, s.Topic(), event, payload, options)
}

// BroadcastFrom sends an event to all members of the topic but this client. It is
// never retained: a history is the same for all.
func (s *Socket) BroadcastFrom(ctx context.Context, event string, payload any) error {
	return s.hub().publisher.broadcast(ctx, s.route, s.Topic(), event, payload, []SendOption{ephemeral{}, from(s.ID())})
}

// Leave takes the client out of this topic; it stays connected. Leave may be called
// in any handler and from any goroutine, and does not wait. With nil the client
// reads phx_close, and does not join again by itself. With an error it reads
// phx_error, and does: with the reason of an error made by Refuse, and "internal"
// in place of any other.
//
// A handler that runs at that moment is the last: it has 5 s before its context is
// cancelled, and its reply is sent. Then HandleLeave is called with Left, unless the
// client left first. Later messages of the client are answered with "unmatched
// topic". In HandleJoined the client is let in first; if it is refused, Leave has no
// effect.
func (s *Socket) Leave(why error) {
	end := job{why: Left, of: s}
	public := true
	if why != nil {
		var text string
		text, public = readable(why)
		end.text = reason(text)
	}
	if s.inbox.endEarly(end, s) && !public {
		s.hub().log.Error("channel had a client leave", "topic", s.Topic(), "client", s.ID(), "error", why)
	}
}

// Disconnect ends the client socket, in all its topics. HandleLeave is called
// with Kicked. The client may come back; to keep it out, refuse its next join
// or its connect.
func (s *Socket) Disconnect(reason string) {
	s.client().cs.Close(wire.CloseDisconnect, reason, Kicked)
}

func (s *Socket) client() *client { return s.inbox.client }
func (s *Socket) hub() *Hub       { return s.inbox.client.hub }

func (s *Socket) context() context.Context { return (*socketContext)(s) }

// String names s in logs.
func (s *Socket) String() string { return fmt.Sprintf("%s in %s", s.ID(), s.Topic()) }
