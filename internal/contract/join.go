package contract

import (
	"context"
	"errors"
	"strings"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// secret is in an error that no client may read.
const secret = "the password is swordfish"

var joining = []behaviour{
	{name: "join_replies_first", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			if err := sock.Push("welcome", obj{"n": 1}); err != nil {
				s.Errorf("Push while joining: %v", err)
			}
			return channel.Accept(obj{"topic": sock.Topic()}), nil
		}
		stop := s.Flood("room:1", "noise")
		defer stop()
		ann := s.Join("ann", "room:1")
		if want := (obj{"topic": "room:1"}); !same(ann.response, want) {
			s.Errorf("reply to the join: got %v, want %v", ann.response, want)
		}
		ann.WantPush("welcome", obj{"n": 1})
		ann.WantBroadcast("noise", obj{})
	}},

	{name: "refused_join", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			if err := sock.Push("welcome", obj{}); err != nil {
				s.Errorf("Push while joining: %v", err)
			}
			return channel.Accepted{}, channel.Refuse("no room left")
		}
		ann := s.Dial("ann").TryJoin("room:1", nil)
		ann.WantRefused("no room left")
		s.Broadcast("room:1", "news", obj{})
		ann.WantNothing()
		if got := s.Members("room:1"); len(got) > 0 {
			s.Errorf("Members: got %v, want none", got)
		}
	}},

	{name: "zero_accepted_refuses", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
			return channel.Accepted{}, nil
		}
		ann := s.Dial("ann").TryJoin("room:1", nil)
		ann.wantStatus(ann.ref, "error")
		s.Broadcast("room:1", "news", obj{})
		ann.WantNothing()
	}},

	{name: "failed_join_says_nothing_of_why", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
			return channel.Accept(nil), errors.New(secret)
		}
		ann := s.Dial("ann").TryJoin("room:1", nil)
		ann.WantRefused("internal")
		s.Broadcast("room:1", "news", obj{})
		ann.WantNothing()
		ann.WantUnseen(secret)
	}},

	{name: "join_crash", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(_ context.Context, _ *channel.Socket, m channel.Message) (channel.Accepted, error) {
			if strings.Contains(string(m.Payload), "crash") {
				panic(secret)
			}
			return channel.Accept(nil), nil
		}
		bystander := s.Join("bob", "room:1")
		ann := s.Dial("ann").TryJoin("room:1", obj{"how": "crash"})
		ann.WantRefused("join crashed")
		s.Broadcast("room:1", "news", obj{})
		bystander.WantBroadcast("news", obj{})
		if s.transport.sends {
			again := ann.client.Join("room:1", nil)
			s.Broadcast("room:1", "news", obj{})
			again.WantBroadcast("news", obj{})
		}
		ann.WantNothing()
		ann.WantUnseen(secret)
	}},

	{name: "join_reply_that_is_no_object", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
			return channel.Accept([]string{"a", "list"}), nil
		}
		ann := s.Dial("ann").TryJoin("room:1", nil)
		ann.WantRefused("internal")
		s.WantLeave("room:1", channel.Panicked) // it was accepted, so it must be left
		s.Broadcast("room:1", "news", obj{})
		ann.WantNothing()
	}},

	{name: "join_reply_of_bytes", needs: toForget | toBeAnswered, script: func(s *stage) {
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			return channel.Accept(channel.Binary("\x00\xff")), sock.Push("welcome", channel.Binary("\x01"))
		}
		ann := s.Join("ann", "room:1")
		if want := (obj{"@binary": []byte("\x00\xff")}); !same(ann.response, want) { // in the dialect's own form
			s.Errorf("reply to the join: got %v, want %v", ann.response, want)
		}
		ann.WantBinary("welcome", []byte("\x01"))
	}},

	{name: "join_reply_of_bytes_has_no_room_for_history", needs: toRemember | toBeAnswered, script: func(s *stage) {
		s.room.joined = func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
			return channel.Accept(channel.Binary("\x00\xff")), nil
		}
		ann := s.Dial("ann").TryJoin("room:1", nil)
		ann.WantRefused("internal") // also where no @history would be told: a channel that works for one works for all
		s.WantLeave("room:1", channel.Panicked)
		s.Broadcast("room:1", "news", obj{})
		ann.WantNothing()
	}},

	{name: "join_payload", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(_ context.Context, _ *channel.Socket, m channel.Message) (channel.Accepted, error) {
			var p struct{ Name string }
			if err := m.Decode(&p); err != nil {
				return channel.Accepted{}, err
			}
			return channel.Accept(obj{"hello": p.Name, "event": m.Event, "topic": m.Topic}), nil
		}
		ann := s.Dial("ann").Join("room:1", obj{"name": "Ann <b>"})
		if want := (obj{"hello": "Ann <b>", "event": "phx_join", "topic": "room:1"}); !same(ann.response, want) {
			s.Errorf("reply to the join: got %v, want %v", ann.response, want)
		}
	}},

	{name: "second_join", needs: toSend, script: func(s *stage) {
		s.On("who", func(_ context.Context, sock *channel.Socket, _ channel.Message) (any, error) {
			return obj{"assigned": sock.Assigned("x")}, nil
		})
		s.room.joined = func(_ context.Context, sock *channel.Socket, m channel.Message) (channel.Accepted, error) {
			sock.Assign("x", string(m.Payload))
			return channel.Accept(nil), nil
		}
		ann := s.Dial("ann")
		first := ann.Join("room:1", obj{"n": 1})
		second := ann.Join("room:1", obj{"n": 2})
		first.WantClosed()
		s.WantLeave("room:1", channel.Replaced)
		second.WantReply(second.Push("who", nil), obj{"assigned": `{"n":2}`})
		s.Broadcast("room:1", "news", obj{})
		second.WantBroadcast("news", obj{})
		second.WantNothing() // the first gets none
		if got := s.Members("room:1"); len(got) != 1 {
			s.Errorf("Members: got %v, want one", got)
		}
	}},

	{name: "second_join_that_is_refused", needs: toSend, script: func(s *stage) {
		s.room.joined = func(_ context.Context, _ *channel.Socket, m channel.Message) (channel.Accepted, error) {
			if strings.Contains(string(m.Payload), "again") {
				return channel.Accepted{}, channel.Refuse("once is enough")
			}
			return channel.Accept(nil), nil
		}
		ann := s.Dial("ann")
		first := ann.Join("room:1", nil)
		second := ann.TryJoin("room:1", obj{"how": "again"})
		second.WantRefused("once is enough")
		first.WantClosed() // its client has given it up
		s.WantLeave("room:1", channel.Replaced)
		first.WantUnmatched(first.Push("echo", nil))
	}},

	{name: "unmatched_topic", needs: toBeAnswered, script: func(s *stage) {
		bob := s.Join("bob", "room:1")
		for n, topic := range []string{"nowhere:1", "room", "room:", "room:1:2"} {
			ann := s.Dial("ann").TryJoin(topic, nil)
			ann.WantUnmatched(ann.ref)
			ann.WantNothing()
			s.Broadcast("room:1", "news", obj{"n": n})
			bob.WantBroadcast("news", obj{"n": n})
		}
	}},

	{name: "too_many_topics", needs: toSend, limits: chime.Limits{Topics: 2}, script: func(s *stage) {
		release := make(chan struct{})
		defer close(release)
		s.room.left = func(_ context.Context, sock *channel.Socket, _ channel.Reason) {
			if sock.Topic() == "room:1" {
				<-release
			}
		}
		ann := s.Dial("ann")
		one, two := ann.Join("room:1", nil), ann.Join("room:2", nil)
		three := ann.TryJoin("room:3", nil)
		three.WantRefused("too many channels joined")
		two.WantReply(two.Push("echo", obj{"n": 2}), obj{"n": 2})
		again := ann.Join("room:2", nil) // not one more
		two.WantClosed()
		again.WantReply(again.Push("echo", obj{"n": 2}), obj{"n": 2})
		one.WantLeft(one.Leave())
		ann.Join("room:4", nil) // in the place of one, whose HandleLeave takes its time
	}},

	{name: "event_before_join", needs: toSend, script: func(s *stage) {
		ann := s.Dial("ann")
		early := &member{client: ann, topic: "room:1", ref: "7"}
		early.WantUnmatched(early.Push("echo", nil))
		joined := ann.Join("room:1", nil)
		joined.WantReply(joined.Push("echo", obj{"n": 1}), obj{"n": 1})
	}},

	{name: "joined_broadcasts_to_others", needs: inStep, script: func(s *stage) {
		s.room.joined = func(ctx context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			err := sock.Broadcast(ctx, "joined", obj{"name": sock.Identity().ID})
			return channel.Accept(nil), err
		}
		ann := s.Join("ann", "room:1")
		bob := s.Join("bob", "room:1")
		ann.WantBroadcast("joined", obj{"name": "bob"})
		s.Broadcast("room:1", "news", obj{})
		ann.WantBroadcast("news", obj{})
		bob.WantBroadcast("news", obj{})
	}},

	{name: "slow_join_stops_nobody_else", needs: toSend, script: func(s *stage) {
		begun, release := make(chan struct{}), make(chan struct{})
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			if sock.Topic() == "room:slow" {
				close(begun)
				<-release
			}
			return channel.Accept(nil), nil
		}
		ann := s.Dial("ann")
		slow := ann.TryJoin("room:slow", nil)
		raw.Await(s.T, begun, "HandleJoined")
		quick := ann.Join("room:1", nil)
		quick.WantReply(quick.Push("echo", obj{"n": 1}), obj{"n": 1})
		ref := slow.Push("echo", obj{"n": 2}) // waits for the join
		slow.WantNothing()
		close(release)
		slow.WantJoined()
		slow.WantReply(ref, obj{"n": 2})
	}},
}
