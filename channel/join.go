package channel

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// ask is what a join wants to be replayed.
type ask struct {
	since *store.Position // everything after it
	last  int             // the newest; -1 is the channel's default
}

// positioned reports whether the join asked for positions.
func (a ask) positioned() bool { return a.since != nil || a.last >= 0 }

// joinRef is the join_ref that retained messages are sent with, or "".
func (a ask) joinRef(joinRef wire.Ref) string {
	if a.positioned() {
		return joinRef.String()
	}
	return ""
}

// want is what the join is replayed in a topic of r.
func (a ask) want(r *route) fanout.Want {
	if a.last < 0 {
		return fanout.Want{Since: a.since, Last: r.replay}
	}
	return fanout.Want{Since: a.since, Last: a.last}
}

// history is what the reply says of the position at which the join begins. A join
// that gave no position reads of a gap too if the history could not be read: else
// its client would take the topic for an empty one.
func (a ask) history(start *fanout.Start) *wire.History {
	if start == nil {
		return nil
	}
	h := &wire.History{Epoch: start.Epoch, Offset: start.Offset}
	if a.since != nil || start.Unread {
		h.Recovered = &start.Recovered
	}
	return h
}

// join lets a client in, or not. Old is its join so far, which ends even if the new
// one is refused: the client has given it up.
func (in *inbox) join(old *Socket, f wire.Frame) {
	if old == nil {
		in.joinAnew(f)
		return
	}
	defer in.client.send(old.frame(wire.EventClose, nil))
	defer in.joinAnew(f)
	in.end(old, Replaced)
}

func (in *inbox) joinAnew(f wire.Frame) {
	c := in.client
	refuse := func(text string) {
		in.unseat(false)
		c.send(wire.NewReply(f.JoinRef, f.Ref, f.Topic, "error", reason(text)))
	}
	r, params := c.hub.routes.match(f.Topic)
	if r == nil { // the topic had a route when the inbox was made
		refuse(unmatched)
		return
	}
	want, payload, err := parseAsk(f.Payload)
	if err != nil {
		refuse(err.Error())
		return
	}
	s := &Socket{inbox: in, route: r, params: params, joinRef: f.JoinRef, sender: sender{cs: c.cs}}
	in.begin(s) // before anything that may take long: the end of the client socket cancels it
	if s.place, err = c.hub.topics.enter(s.context(), f.Topic, r); err != nil {
		c.hub.log.Error("topic could not be subscribed to", "topic", f.Topic, "client", s.ID(), "error", err)
		s.cancel()
		refuse("unavailable")
		return
	}
	s.member.Init((*owner)(s), &c.pager, s.place.Topic, want.joinRef(f.JoinRef))
	m := Message{Topic: f.Topic, Event: f.Event, Payload: payload, Binary: f.Binary, ref: f.Ref, joinRef: f.JoinRef}
	var reply any
	refused, why := true, "join crashed"
	in.guard("HandleJoined", f.Event, func() { reply, refused, why = s.decide(m) }, func() {
		if !refused {
			in.admit(s, f.Ref, reply, want)
			return
		}
		s.leave()
		s.cancel()
		c.hub.topics.exit(s.place)
		refuse(why)
	})
}

// decide has the channel decide whether the client may join.
func (s *Socket) decide(m Message) (reply any, refused bool, why string) {
	log := s.hub().log.With("topic", m.Topic, "client", s.ID())
	accepted, err := s.route.channel.HandleJoined(s.context(), s, m)
	switch {
	case err != nil:
		text, public := readable(err)
		if !public {
			log.Error("join failed", "error", err)
		}
		return nil, true, text
	case !accepted.ok:
		log.Warn("join refused: HandleJoined returned neither Accept nor an error")
		return nil, true, "not accepted"
	}
	return accepted.reply, false, ""
}

// admit has an accepted client enter the topic. If the reply can't be sent it does
// not, and the application sees the client that it let in leave.
func (in *inbox) admit(s *Socket, ref wire.Ref, reply any, want ask) {
	var response body
	err := errEncodePanicked
	// The reply's MarshalJSON is the application's code, and may panic too.
	in.guard("MarshalJSON", wire.EventJoin, func() { response, err = s.response(reply) }, func() {
		if err == nil {
			s.enter(ref, response, want)
			return
		}
		in.client.hub.log.Error("reply to a join can't be sent", "topic", in.topic, "client", s.ID(), "error", err)
		in.end(s, Panicked, wire.NewReply(s.joinRef, ref, in.topic, "error", reason("internal")))
	})
}

// enter makes an accepted socket a member, which begins with the reply to its join.
func (s *Socket) enter(ref wire.Ref, response body, want ask) {
	err := s.place.Join(&s.member, want.want(s.route), func(start *fanout.Start) {
		switch {
		case response.binary:
			s.sender.greet(wire.NewBinaryReply(s.joinRef, ref, s.Topic(), response.data))
		default:
			s.sender.greet(wire.NewJoinReply(s.joinRef, ref, s.Topic(), response.data, want.history(start), want.positioned()))
		}
	})
	if err != nil && s.context().Err() == nil { // else its end has come, and did not wait for the store
		s.hub().log.Error("history could not be read", "topic", s.Topic(), "error", err)
	}
}

// response encodes the reply to a join. Whether it may be binary depends on the
// channel alone: what works on one transport works on all.
func (s *Socket) response(reply any) (body, error) {
	if b, ok := reply.(Binary); ok {
		if s.route.keep != nil {
			return body{}, errNoRoom
		}
		return body{b, true}, nil
	}
	text, err := wire.EncodeObject(reply)
	return body{text, false}, err
}

var errNoRoom = errors.New("reply is Binary: want a JSON object, since the channel has a History, whose @history goes into it")

var errEncodePanicked = errors.New("encoding the reply panicked")

func validEvent(event string) bool {
	return wire.ValidName(event) && !strings.HasPrefix(event, "phx_")
}

// parseAsk takes @since and @last out of the payload of a join.
func parseAsk(payload json.RawMessage) (ask, json.RawMessage, error) {
	a := ask{last: -1}
	if !bytes.Contains(payload, []byte(`"@since"`)) && !bytes.Contains(payload, []byte(`"@last"`)) {
		return a, payload, nil
	}
	var fields map[string]json.RawMessage
	if payload[0] != '{' || json.Unmarshal(payload, &fields) != nil {
		return a, payload, nil //nolint:nilerr // what is no object has no @since and no @last
	}
	if text, ok := fields["@since"]; ok {
		var p struct {
			Epoch  *string `json:"epoch"`
			Offset *uint64 `json:"offset"`
		}
		if json.Unmarshal(text, &p) != nil || p.Epoch == nil || p.Offset == nil {
			return a, nil, errors.New(`malformed @since: want {"epoch":"…","offset":n}`)
		}
		a.since = &store.Position{Epoch: *p.Epoch, Offset: *p.Offset}
	}
	if text, ok := fields["@last"]; ok {
		if json.Unmarshal(text, &a.last) != nil || a.last < 0 {
			return a, nil, errors.New("malformed @last: want a number from 0")
		}
		a.last = min(a.last, fanout.MaxReplay)
	}
	delete(fields, "@since")
	delete(fields, "@last")
	rest, err := wire.EncodeValue(fields) // json.Marshal would escape what the client did not
	return a, rest, err
}
