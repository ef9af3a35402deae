package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

var answering = []behaviour{
	{name: "push_is_answered", needs: toSend, script: func(s *stage) {
		s.On("quiet", func(context.Context, *channel.Socket, channel.Message) (any, error) { return nil, nil })
		s.On("list", func(context.Context, *channel.Socket, channel.Message) (any, error) { return []int{1, 2}, nil })
		ann := s.Join("ann", "room:1")
		ann.WantReply(ann.Push("quiet", nil), obj{})
		ann.WantReply(ann.Push("echo", obj{"text": "a\nb <&> \u2028"}), obj{"text": "a\nb <&> \u2028"})
		ann.Tell("quiet", nil)
		ref := ann.Push("list", nil)
		f := ann.next("the reply to " + ref) // the push without a ref has none
		ann.want(f, ann.ref, ref, "phx_reply", obj{"status": "ok", "response": []int{1, 2}})
	}},

	{name: "push_without_join_ref", needs: toSend, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		ann.send(frame{ref: "77", topic: "room:1", event: "echo", payload: obj{"n": 1}})
		ann.WantReply("77", obj{"n": 1}) // the reply names the join all the same
	}},

	{name: "refusal_is_read", needs: toSend, script: func(s *stage) {
		s.On("refuse", func(context.Context, *channel.Socket, channel.Message) (any, error) {
			return nil, fmt.Errorf("%s: %w", secret, channel.Refuse("not you"))
		})
		s.On("decode", func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
			var p struct {
				N int `json:"n"`
			}
			return p, m.Decode(&p)
		})
		ann := s.Join("ann", "room:1")
		ann.WantError(ann.Push("refuse", nil), "not you")
		ann.WantError(ann.Push("decode", obj{"n": "one"}), "malformed payload: n: got string")
		ann.WantError(ann.Push("phx_odd", nil), "invalid event")
		ann.WantUnseen(secret)
	}},

	{name: "error_is_internal", needs: toSend, script: func(s *stage) {
		s.On("fail", func(context.Context, *channel.Socket, channel.Message) (any, error) {
			return obj{"and": secret}, errors.New(secret)
		})
		s.On("unencodable", func(context.Context, *channel.Socket, channel.Message) (any, error) {
			return func() {}, nil
		})
		ann := s.Join("ann", "room:1")
		ann.WantError(ann.Push("fail", nil), "internal")
		ann.WantError(ann.Push("unencodable", nil), "internal")
		ann.WantReply(ann.Push("echo", obj{"n": 1}), obj{"n": 1}) // goes on as before
		ann.WantUnseen(secret)
	}},

	{name: "reply_later", needs: toSend, script: func(s *stage) {
		type question struct {
			sock *channel.Socket
			m    channel.Message
		}
		later := make(chan question, 2)
		s.On("later", func(_ context.Context, sock *channel.Socket, m channel.Message) (any, error) {
			later <- question{sock, m}
			return channel.Later, nil
		})
		ann := s.Join("ann", "room:1")
		one, two := ann.Push("later", nil), ann.Push("later", nil)
		ann.WantReply(ann.Push("echo", obj{"n": 1}), obj{"n": 1}) // nobody waits for a Later
		first, second := raw.Await(s.T, later, "a later message"), raw.Await(s.T, later, "a later message")
		if err := second.sock.Reply(second.m, nil, channel.Refuse("too late")); err != nil {
			s.Errorf("Reply: %v", err)
		}
		if err := first.sock.Reply(first.m, obj{"n": 2}, nil); err != nil {
			s.Errorf("Reply: %v", err)
		}
		ann.WantError(two, "too late")
		ann.WantReply(one, obj{"n": 2})
		ann.WantLeft(ann.Leave())
		s.WantLeave("room:1", channel.Left)
		if err := first.sock.Reply(first.m, nil, nil); !errors.Is(err, channel.ErrLeft) {
			s.Errorf("Reply after the leave: got %v, want %v", err, channel.ErrLeft)
		}
		ann.WantNothing()
	}},

	{name: "in_order_one_at_a_time", needs: toSend, script: func(s *stage) {
		var handled []string // in one goroutine at a time, as the room watches
		s.On("note", func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
			handled = append(handled, string(m.Payload))
			return nil, nil
		})
		ann := s.Join("ann", "room:1")
		var refs, want []string
		for n := range 100 {
			refs = append(refs, ann.Push("note", n))
			want = append(want, fmt.Sprint(n))
		}
		for _, ref := range refs {
			ann.WantReply(ref, obj{})
		}
		if !slices.Equal(handled, want) {
			s.Errorf("handled: got %v, want %v", handled, want)
		}
	}},

	{name: "assigns", needs: toSend, script: func(s *stage) {
		s.On("add", func(_ context.Context, sock *channel.Socket, m channel.Message) (any, error) {
			n, _ := sock.Assigned("n").(int)
			sock.Assign("n", n+1)
			return obj{"n": n + 1}, nil
		})
		ann, bob := s.Dial("ann"), s.Dial("bob")
		one, two, other := ann.Join("room:1", nil), ann.Join("room:2", nil), bob.Join("room:1", nil)
		one.WantReply(one.Push("add", nil), obj{"n": 1})
		one.WantReply(one.Push("add", nil), obj{"n": 2})
		two.WantReply(two.Push("add", nil), obj{"n": 1})
		other.WantReply(other.Push("add", nil), obj{"n": 1})
		again := ann.Join("room:1", nil)
		one.WantClosed()
		again.WantReply(again.Push("add", nil), obj{"n": 1}) // a new join begins with none
	}},

	{name: "who_and_where", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			return channel.Accept(describe(sock)), nil
		}
		c := s.Dial("ann")
		transport := c.Transport()
		ann := c.Join("room:42", nil)
		want := obj{
			"topic": "room:42", "id": "42", "transport": transport,
			"identity": "ann", "value": "the value of ann", "socket": s.room.socket().ID(),
		}
		if !same(ann.response, want) {
			s.Errorf("in HandleJoined: got %v, want %v", ann.response, want)
		}
		if !s.transport.sends {
			return
		}
		s.On("describe", func(_ context.Context, sock *channel.Socket, _ channel.Message) (any, error) {
			return describe(sock), nil
		})
		ann.WantReply(ann.Push("describe", nil), want)
	}},

	{name: "context_of_the_opening_request", needs: toBeAnswered, grace: noTime, timed: true, script: func(s *stage) {
		see := func(ctx context.Context) obj {
			return obj{"tenant": chi.URLParamFromCtx(ctx, "tenant"), "visit": ctx.Value(visitKey{}), "alive": ctx.Err() == nil}
		}
		s.room.joined = func(ctx context.Context, _ *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			return channel.Accept(see(ctx)), nil
		}
		s.On("see", func(ctx context.Context, _ *channel.Socket, _ channel.Message) (any, error) { return see(ctx), nil })
		left := make(chan obj, 1)
		s.room.left = func(ctx context.Context, _ *channel.Socket, _ channel.Reason) { left <- see(ctx) }

		want := obj{"tenant": "initech", "visit": "initech ann", "alive": true}
		c := s.DialAt("initech", "ann")
		ann := c.Join("room:1", nil)
		if !same(ann.response, want) {
			s.Errorf("in HandleJoined: got %v, want %v", ann.response, want)
		}
		for range 20 { // chi uses its contexts again
			s.Say("globex", "room:1", http.StatusNoContent)
			ann.WantBroadcast("said", obj{"tenant": "globex"})
		}
		if s.transport.sends {
			ann.WantReply(ann.Push("see", nil), want)
		}
		c.Cut()
		time.Sleep(c.Silence())
		if got := raw.Await(s.T, left, "HandleLeave"); fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("in HandleLeave: got %v, want %v", got, want)
		}
	}},
}

// describe is what a channel can know of a socket.
func describe(s *channel.Socket) obj {
	return obj{
		"topic": s.Topic(), "id": s.Param("id"), "transport": s.Transport(),
		"identity": s.Identity().ID, "value": s.Identity().Value, "socket": s.ID(),
	}
}

var sending = []behaviour{
	{name: "rebroadcast", needs: toSend | inStep, script: func(s *stage) {
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		elsewhere := s.Join("eve", "room:2")
		ref := ann.Push("say", obj{"text": "hi"})
		ann.WantBroadcast("say", obj{"text": "hi"})
		ann.WantReply(ref, obj{}) // after the commit of what it is the reply to
		bob.WantBroadcast("say", obj{"text": "hi"})
		ann.WantError(ann.Push("say", 7), "payload is not an object")
		bob.WantNothing()
		elsewhere.WantNothing()
	}},

	{name: "push_is_for_one", script: func(s *stage) {
		bob := s.Join("bob", "room:1")
		ann := s.Join("ann", "room:1")
		if err := s.room.socket().Push("psst", obj{"n": 1}); err != nil {
			s.Errorf("Push: %v", err)
		}
		ann.WantPush("psst", obj{"n": 1})
		bob.WantNothing()
	}},

	{name: "broadcast_from_skips_the_sender", script: func(s *stage) {
		bob := s.Join("bob", "room:1")
		ann := s.Join("ann", "room:1")
		if err := s.room.socket().BroadcastFrom(s.Context(), "typing", obj{"who": "ann"}); err != nil {
			s.Errorf("BroadcastFrom: %v", err)
		}
		s.Broadcast("room:1", "news", obj{})
		ann.WantBroadcast("news", obj{})
		if offset := bob.WantBroadcast("typing", obj{"who": "ann"}); offset != 0 {
			s.Errorf("typing has the offset %d, want none: it is never kept", offset)
		}
		bob.WantBroadcast("news", obj{})
	}},

	{name: "ephemeral", script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		s.Broadcast("room:1", "cursor", obj{"x": 1}, channel.Ephemeral())
		if offset := ann.WantBroadcast("cursor", obj{"x": 1}); offset != 0 {
			s.Errorf("cursor has the offset %d, want none: it is not kept", offset)
		}
		if s.store == nil {
			return
		}
		if got, _, err := s.live.History(s.Context(), "room:1", 10); err != nil || len(got) > 0 {
			s.Errorf("History: got %v, %v; want nothing kept", got, err)
		}
	}},

	{name: "broadcast_from_an_http_handler", script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		s.Say("acme", "room:1", http.StatusNoContent)
		ann.WantBroadcast("said", obj{"tenant": "acme"})
		s.Say("acme", "nowhere:1", http.StatusBadRequest)
		if err := s.live.Broadcast(s.Context(), "nowhere:1", "news", obj{}); !errors.Is(err, channel.ErrNoChannel) {
			s.Errorf("Broadcast to a topic without a channel: got %v, want %v", err, channel.ErrNoChannel)
		}
	}},

	{name: "bad_broadcast_is_an_error", script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		done, cancel := context.WithCancel(s.Context())
		cancel()
		for _, bad := range []struct {
			ctx     context.Context
			event   string
			payload any
		}{
			{done, "news", obj{}},
			{s.Context(), "", obj{}},
			{s.Context(), "phx_reply", obj{}},
			{s.Context(), "two\nlines", obj{}},
			{s.Context(), strings.Repeat("long", 100), obj{}},
			{s.Context(), "news", []int{1}},
			{s.Context(), "news", "text"},
			{s.Context(), "news", func() {}},
			{s.Context(), "news", obj{"text": json.RawMessage("\"\xff\"")}},
			{s.Context(), "news", json.RawMessage(`{"half":`)},
		} {
			if err := s.live.Broadcast(bad.ctx, "room:1", bad.event, bad.payload); err == nil {
				s.Errorf("Broadcast(%.20q, %v): got no error", bad.event, bad.payload)
			}
		}
		s.Broadcast("room:1", "news", json.RawMessage("{\r\n \"a\":\n1}")) // one line on the wire
		ann.WantBroadcast("news", obj{"a": 1})
	}},

	{name: "binary", needs: toSend | inStep, script: func(s *stage) {
		data := []byte("\x00\xff\r\n\r\ndata: x")
		s.On("draw", func(ctx context.Context, sock *channel.Socket, m channel.Message) (any, error) {
			if m.Payload != nil {
				return nil, channel.Refuse("want bytes")
			}
			if err := sock.Push("for you", channel.Binary(m.Binary)); err != nil {
				return nil, err
			}
			return obj{"bytes": len(m.Binary)}, sock.Rebroadcast(ctx, m)
		})
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		ref := ann.PushBinary("draw", data)
		ann.WantBinary("for you", data)
		ann.WantBinary("draw", data)
		ann.WantReply(ref, obj{"bytes": len(data)})
		bob.WantBinary("draw", data)
		s.On("copy", func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
			return channel.Binary(m.Binary), nil
		})
		ann.WantReply(ann.PushBinary("copy", data), obj{"@binary": data}) // in the dialect's own form
		ref = ann.PushBinary("draw", []byte{})
		ann.WantBinary("for you", nil)
		ann.WantBinary("draw", nil)
		ann.WantReply(ref, obj{"bytes": 0})
	}},

	{name: "binary_from_outside", needs: toCarryBytes, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		s.Broadcast("room:1", "image", channel.Binary("\x89PNG\r\n"))
		ann.WantBinary("image", []byte("\x89PNG\r\n"))
	}},

	{name: "members", grace: noTime, timed: true, script: func(s *stage) {
		if got := s.Members("room:1"); len(got) != 0 {
			s.Errorf("Members of an empty room: got %v", got)
		}
		ann := s.Join("ann", "room:1")
		id := s.room.socket().ID()
		got := s.Members("room:1")
		if len(got) != 1 || got[0].ID != id || got[0].Identity.ID != "ann" {
			s.Errorf("Members: got %v, want ann with the ID %s", got, id)
		}
		ann.Cut()
		time.Sleep(ann.Silence())
		s.WantLeave("room:1", channel.Vanished)
		if got := s.Members("room:1"); len(got) != 0 {
			s.Errorf("Members after everybody has gone: got %v", got)
		}
	}},

	{name: "many_clients", script: func(s *stage) {
		var all []*member
		for n := range 20 {
			all = append(all, s.Join(fmt.Sprint("client", n), "room:1"))
		}
		for n := range 10 {
			s.Broadcast("room:1", "news", obj{"n": n})
		}
		for _, m := range all {
			for n := range 10 {
				m.WantBroadcast("news", obj{"n": n})
			}
		}
	}},

	{name: "joins_and_leaves_under_load", needs: toSend, script: func(s *stage) {
		stop := s.Flood("room:1", "noise")
		defer stop()
		ann := s.Dial("ann")
		for range 20 {
			m := ann.Join("room:1", nil) // whose reply comes first
			m.WantBroadcast("noise", obj{})
			ref := m.Leave()
			f := m.next("the reply to the leave")
			for f.event == "noise" {
				f = m.next("the reply to the leave")
			}
			m.want(f, m.ref, ref, "phx_reply", obj{"status": "ok", "response": obj{}})
			m.WantClosed() // and then nothing but the next join
		}
	}},
}
