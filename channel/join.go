package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
)

// entry is a join, from its frame to the reply. It belongs to the goroutine of its
// inbox.
type entry struct {
	in     worker
	frame  *wire.Frame
	ask    ask
	socket *Socket         // nil before it is known that the frame asks for what there is
	key    string          // under which its client is present
	meta   json.RawMessage // and with what
}

// join lets a client in, or not. Old is its join so far, which ends even if the new
// one is refused: the client has given it up.
func (w worker) join(old *Socket, f *wire.Frame) {
	e := &entry{in: w, frame: f}
	if old == nil {
		e.begin()
		return
	}
	// Were the topic left meanwhile, other nodes would see its client gone for a moment.
	same, _ := w.client.hub.topics.use(f.Topic, old.route)
	defer w.client.hub.topics.exit(same)
	defer w.client.send(old.frame(wire.EventClose, nil))
	defer e.begin()
	w.end(old, Replaced)
}

func (e *entry) begin() {
	c, f := e.in.client, e.frame
	r := c.hub.routes.match(f.Topic)
	if r == nil { // the topic had a route when the inbox was made
		e.refuse(unmatched)
		return
	}
	want, payload, err := parseAsk(f.Payload)
	if err != nil {
		e.refuse(err.Error())
		return
	}
	s := &Socket{inbox: e.in.inbox, route: r, params: r.pattern.params(f.Topic), joinRef: f.JoinRef}
	if r.present != nil {
		s.here = &presence.Here[*fanout.Member]{Of: &s.member}
	}
	e.ask, e.socket = want, s
	e.in.begin(s) // before anything that may take long: the end of the client socket cancels it
	if s.place, err = c.hub.topics.enter(s.context(), f.Topic, r); err != nil {
		if s.context().Err() == nil { // else its client has gone meanwhile
			c.hub.log.Error("topic could not be subscribed to", "topic", f.Topic, "client", s.ID(), "error", err)
		}
		s.ending.cancel()
		e.refuse("unavailable")
		return
	}
	s.member.Init((*owner)(s), &c.pager, s.place.Topic, want.positioned())
	if r.outgoing != nil {
		s.outbox = newOutbox(s)
		s.member.Through(s.outbox)
	}
	e.in.place()
	e.decide(payload)
}

// refuse answers a join whose client is not let in.
func (e *entry) refuse(why string) {
	e.in.unseat(false)
	e.in.client.send(wire.NewReply(e.frame.JoinRef, e.frame.Ref, e.frame.Topic, "error", reason(why)))
}

// decide has the channel decide whether the client may join. Payload is what its frame
// has, without what is Chime's own.
func (e *entry) decide(payload json.RawMessage) {
	s := e.socket
	var accepted Accepted
	why := "join crashed"
	e.in.guard(call{"HandleJoined", &s.ending, &s.route.stats.HandleJoined}, wire.EventJoin, func() { accepted, why = e.handle(payload) }, func() {
		if accepted.ok {
			s.route.stats.Joins.Add(stats.Accepted)
			e.admit(accepted.reply)
			return
		}
		s.route.stats.Joins.Add(stats.Refused)
		s.leave()
		s.ending.cancel()
		e.in.client.hub.topics.exit(s.place)
		e.refuse(why)
	})
}

// handle returns what HandleJoined says, and what the client may read of that if it
// is refused.
func (e *entry) handle(payload json.RawMessage) (Accepted, string) {
	s, f := e.socket, e.frame
	accepted, err := s.route.channel.HandleJoined(s.context(), s, Message{
		Topic: f.Topic, Event: f.Event, Payload: payload, Binary: f.Binary, ref: f.Ref, joinRef: f.JoinRef,
	})
	switch {
	case err != nil:
		text, public := readable(err)
		if !public {
			s.hub().log.Log(context.Background(), s.severity(err), "join failed", "topic", f.Topic, "client", s.ID(), "error", err)
		}
		return Accepted{}, text
	case !accepted.ok:
		s.hub().log.Warn("join refused: HandleJoined returned neither Accept nor an error", "topic", f.Topic, "client", s.ID())
		return Accepted{}, "not accepted"
	}
	return accepted, ""
}

// admit has an accepted client enter the topic. If the reply can't be sent it does
// not, and the application sees the client that it let in leave.
func (e *entry) admit(reply any) {
	var response body
	err := errEncodePanicked
	// The reply's MarshalJSON is the application's code, and may panic too.
	e.in.guard(call{"MarshalJSON", nil, &e.socket.route.stats.MarshalJSON}, wire.EventJoin, func() { response, err = e.response(reply) }, func() {
		if err != nil {
			e.unanswered(err)
			return
		}
		e.appear(response)
	})
}

// appear asks the application how an accepted client is present, before that enters.
func (e *entry) appear(response body) {
	s := e.socket
	if s.here == nil {
		e.enter(response)
		return
	}
	err := errPresencePanicked
	e.in.guard(call{"Presence", nil, &s.route.stats.Presence}, wire.EventJoin, func() { e.key, e.meta, err = s.route.present.of(s) }, func() {
		if err != nil {
			e.unanswered(fmt.Errorf("presence: %w", err))
			return
		}
		e.enter(response)
	})
}

// unanswered ends a join whose reply can't be sent, or whose client can't be present.
func (e *entry) unanswered(err error) {
	s := e.socket
	s.hub().log.Error("reply to a join can't be sent", "topic", s.Topic(), "client", s.ID(), "error", err)
	e.in.end(s, Panicked, wire.NewReply(s.joinRef, e.frame.Ref, s.Topic(), "error", reason("internal")))
}

// response encodes the reply to a join. Whether it may be binary depends on the
// channel alone: what works on one transport works on all.
func (e *entry) response(reply any) (body, error) {
	if b, ok := reply.(Binary); ok {
		if e.socket.route.keep != nil {
			return body{}, errNoRoom
		}
		return body{b, true}, nil
	}
	text, err := wire.EncodeObject(reply)
	return body{text, false}, err
}

var (
	errNoRoom           = errors.New("reply is Binary: want a JSON object, since the channel has a History, whose @history goes into it")
	errEncodePanicked   = errors.New("encoding the reply panicked")
	errPresencePanicked = errors.New("its function panicked")
)

// count counts what becomes of a join that gave a position.
func (e *entry) count(start *fanout.Start) {
	if start == nil || e.ask.since == nil {
		return
	}
	outcome := stats.Gap
	switch {
	case start.Unread:
		outcome = stats.Unread
	case start.Recovered:
		outcome = stats.Recovered
	}
	e.socket.route.stats.Recoveries.Add(outcome)
}

// enter makes an accepted socket a member, which begins with the reply to its join.
func (e *entry) enter(response body) {
	s, ref := e.socket, e.frame.Ref
	err := s.place.Join(&s.member, e.ask.want(s.route), func(start *fanout.Start) {
		e.count(start)
		if response.binary {
			s.sender.greet(s.client().cs, wire.NewBinaryReply(s.joinRef, ref, s.Topic(), response.data))
			return
		}
		s.sender.greet(s.client().cs, wire.NewJoinReply(s.joinRef, ref, s.Topic(), response.data, e.ask.history(start), e.ask.positioned()))
	})
	if err != nil && s.context().Err() == nil { // else its end has come, and did not wait for the store
		s.hub().log.Error("history could not be read", "topic", s.Topic(), "error", err)
	}
	if s.here != nil {
		s.place.presence.Enter(s.here, e.key, e.meta)
	}
	if h := s.route.member; h != nil {
		e.in.guarded(s, call{"HandleMember", &s.ending, &s.route.stats.HandleMember}, wire.EventJoin, func() { h.HandleMember(s.context(), s) })
	}
}
