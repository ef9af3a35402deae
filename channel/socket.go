package channel

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// Socket is one client in one topic, from its join until it leaves. Its
// methods are safe for concurrent use, and may be called from outside the
// handlers too.
type Socket struct {
	client  *client
	route   *route
	params  []string
	topic   *topic
	joinRef wire.Ref
	ending  ending

	mu       sync.Mutex // guards phase, early, assigned and replay, and the order of what goes to the client
	phase    phase
	replay   *replay         // while it catches up
	early    []*wire.Message // pushed by HandleJoined, to follow the reply
	assigned map[string]any

	member member // guarded by topic.mu
}

// to is what retained messages are sent to: the join_ref, if the join asked for positions.
func (s *Socket) to() string {
	if s.member.asked {
		return s.joinRef.String()
	}
	return ""
}

// phase is how far a socket has come. What a client sees of a topic begins
// with the join reply and ends with the leave.
type phase int

const (
	joining phase = iota
	joined
	left
)

// maxEarly bounds what HandleJoined may push.
const maxEarly = 256

var errTooEarly = errors.New("too many pushes before the join is accepted")

// Topic is the topic joined: "chat_room:42".
func (s *Socket) Topic() string { return s.topic.name }

// Param is the part of the topic that stands for {name} in the pattern, or for
// its * under the name "*"; "" if the pattern has no such name. The name may be
// given with its braces or without.
func (s *Socket) Param(name string) string { return s.route.param(s.params, name) }

// ID is the public name of the client socket, the same in all its topics.
func (s *Socket) ID() string { return s.client.cs.ID() }

// Identity is who the client is, as WithConnect said.
func (s *Socket) Identity() transport.Identity { return s.client.cs.Identity() }

// Transport is what carries the client at present: "websocket" or "sse".
func (s *Socket) Transport() string { return s.client.cs.Transport() }

// Assign keeps a value with this socket, for later handlers of the same client
// and topic.
func (s *Socket) Assign(key string, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assigned == nil {
		s.assigned = map[string]any{}
	}
	s.assigned[key] = value
}

// Assigned returns what was assigned to key, or nil.
func (s *Socket) Assigned(key string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assigned[key]
}

// Push sends an event to this client only. It never blocks. Payload encodes to
// a JSON object, or is Binary. In HandleJoined it waits for the reply, and is
// dropped if the join is refused.
func (s *Socket) Push(event string, payload any) error {
	b, err := encode(event, payload)
	if err != nil {
		return err
	}
	m := b.push(s.Topic(), event, 0).WithRefs(s.joinRef, wire.Ref{})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase == left:
		return ErrLeft
	case s.phase == joined:
		return s.client.cs.Send(m, "")
	case len(s.early) >= maxEarly:
		return errTooEarly
	}
	s.early = append(s.early, m)
	return nil
}

// Reply answers a message to which HandleMessage returned Later. It may be
// called from any goroutine; err is treated as HandleMessage's. A client takes
// the first reply to a message and ignores others.
func (s *Socket) Reply(m Message, reply any, err error) error {
	if m.ref.Null() { // nobody waits for it, but what failed has to be seen somewhere
		if err != nil {
			s.told(m, err)
		}
		return nil
	}
	r := s.replyTo(m, reply, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != joined {
		return ErrLeft
	}
	return s.client.cs.Send(r, "")
}

// replyTo encodes a reply.
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
	return wire.NewReply(s.joinRef, m.ref, s.Topic(), "error", reason(s.told(m, err)))
}

// told is what the client is told of an error that m has led to. One that it may
// not read is logged.
func (s *Socket) told(m Message, err error) string {
	text, public := readable(err)
	if !public {
		s.client.hub.log.Error("message failed", "topic", s.Topic(), "event", m.Event, "client", s.ID(), "error", err)
	}
	return text
}

// Rebroadcast sends m to everybody in the topic, its sender too, and keeps it
// if the channel has a History. It returns when m is kept and queued for all.
func (s *Socket) Rebroadcast(ctx context.Context, m Message) error {
	if m.Binary != nil {
		return s.Broadcast(ctx, m.Event, Binary(m.Binary))
	}
	if len(m.Payload) > 0 && m.Payload[0] != '{' {
		return Refuse("payload is not an object")
	}
	return s.Broadcast(ctx, m.Event, m.Payload)
}

// Broadcast sends an event to everybody in the topic, this client too, and
// keeps it if the channel has a History and it is not Ephemeral. Payload
// encodes to a JSON object, or is Binary; a json.RawMessage or Binary is not
// copied, and belongs to chime from now on. It returns when the event is kept
// and queued for all; ctx bounds the wait until then, but once keeping has
// begun it is not undone.
func (s *Socket) Broadcast(ctx context.Context, event string, payload any, options ...SendOption) error {
	return s.client.hub.broadcast(ctx, s.route, s.Topic(), event, payload, options)
}

// BroadcastFrom sends an event to everybody in the topic but this client. It
// is never kept: a history is the same for all.
func (s *Socket) BroadcastFrom(ctx context.Context, event string, payload any) error {
	return s.client.hub.broadcast(ctx, s.route, s.Topic(), event, payload, []SendOption{Ephemeral(), from(s.ID())})
}

// Leave takes the client out of this topic; it stays connected. It may be called
// in any handler and from any goroutine, and does not wait. With nil the client
// reads phx_close, and does not join again by itself. With an error it reads
// phx_error, and does: an error made by Refuse is read by it, any other reaches
// it as "internal".
//
// The handler that runs at that moment, if any, is the last: it has 5 s before its
// context is cancelled, and its reply is sent. Then HandleLeave is called with
// Left, unless the client went first. What the client has sent behind that is
// answered as to who is not in the topic. In HandleJoined the client is let in
// first, unless it is refused: then there is nothing to leave.
func (s *Socket) Leave(why error) {
	end := job{why: Left, of: s}
	public := true
	if why != nil {
		var text string
		text, public = readable(why)
		end.text = reason(text)
	}
	c := s.client
	c.mu.Lock()
	in := c.inboxes.find(s.Topic())
	current := in != nil && in.socket == s && !(len(in.jobs) > 0 && in.jobs[0].ends(s)) // else it ends anyway
	if current {
		// Before what waits, unlike the leave of a client, which stands behind what
		// it sent: a channel that is done must not be handed one more message.
		in.interrupt(end)
		in.expect()
	}
	c.mu.Unlock()
	if current && !public {
		c.hub.log.Error("channel had a client leave", "topic", s.Topic(), "client", s.ID(), "error", why)
	}
}

// Disconnect ends the client socket, in all its topics. HandleLeave is called
// with Kicked. The client may come back; to keep it out, refuse its next join
// or its connect.
func (s *Socket) Disconnect(reason string) {
	s.client.cs.Close(wire.CloseDisconnect, reason, Kicked)
}

// SendOption changes how an event is broadcast.
type SendOption func(*sending)

type sending struct {
	ephemeral bool
	from      string
}

// Ephemeral keeps an event out of the history.
func Ephemeral() SendOption { return func(s *sending) { s.ephemeral = true } }

func from(id string) SendOption { return func(s *sending) { s.from = id } }

// leave makes s left: nothing reaches the client through it any more but, if
// that was not so before, what say does.
func (s *Socket) leave(say func()) {
	s.topic.remove(s)
	s.mu.Lock()
	already := s.phase != joined
	s.phase = left
	s.yield()
	s.mu.Unlock()
	if say != nil && !already {
		say()
	}
}

// say sends one of the last frames of a socket, which has left.
func (s *Socket) say(event string, payload []byte) {
	_ = s.client.cs.Send(wire.NewFrame(s.joinRef, s.joinRef, s.Topic(), event, payload), "")
}

// String names s in logs.
func (s *Socket) String() string { return fmt.Sprintf("%s in %s", s.ID(), s.Topic()) }
