package contract

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

var suffering = []behaviour{
	{name: "blocked_handler_stops_nobody_else", needs: toSend, script: func(s *stage) {
		begun, release := make(chan struct{}), make(chan struct{})
		s.On("block", func(context.Context, *channel.Socket, channel.Message) (any, error) {
			close(begun)
			<-release
			return obj{"late": true}, nil
		})
		ann := s.Dial("ann")
		one, two, bob := ann.Join("room:1", nil), ann.Join("room:2", nil), s.Join("bob", "room:1")
		blocked := one.Push("block", nil)
		raw.Await(s.T, begun, "the blocking handler")
		queued := one.Push("echo", obj{"n": 1})
		two.WantReply(two.Push("echo", obj{"n": 2}), obj{"n": 2})
		bob.WantReply(bob.Push("echo", obj{"n": 3}), obj{"n": 3})
		s.Broadcast("room:1", "news", obj{})
		bob.WantBroadcast("news", obj{})
		one.WantBroadcast("news", obj{}) // what comes in is not held up either
		close(release)
		one.WantReply(blocked, obj{"late": true})
		one.WantReply(queued, obj{"n": 1})
	}},

	{name: "panic_ends_the_join", needs: toSend, script: func(s *stage) {
		s.On("boom", func(context.Context, *channel.Socket, channel.Message) (any, error) { panic(secret) })
		ann := s.Dial("ann")
		one, two, bob := ann.Join("room:1", nil), ann.Join("room:2", nil), s.Join("bob", "room:1")
		one.Push("boom", nil)
		one.WantFailed("channel_crash")
		s.WantLeave("room:1", channel.Panicked)
		s.Broadcast("room:1", "news", obj{})
		bob.WantBroadcast("news", obj{})
		two.WantReply(two.Push("echo", obj{"n": 1}), obj{"n": 1})
		one.WantNothing() // no reply, no news
		again := ann.Join("room:1", nil)
		again.WantReply(again.Push("echo", obj{"n": 2}), obj{"n": 2})
		one.WantUnseen(secret)
	}},

	{name: "panic_in_leave_hurts_nobody", needs: toSend, script: func(s *stage) {
		s.room.left = func(_ context.Context, sock *channel.Socket, why channel.Reason) {
			s.room.leaves <- leave{sock.Topic(), why}
			s.room.forgive(sock) // its leave ends here
			panic(secret)
		}
		ann := s.Dial("ann")
		one, two := ann.Join("room:1", nil), ann.Join("room:2", nil)
		one.WantLeft(one.Leave())
		s.WantLeave("room:1", channel.Left)
		two.WantReply(two.Push("echo", obj{"n": 1}), obj{"n": 1})
		again := ann.Join("room:1", nil)
		again.WantReply(again.Push("echo", obj{"n": 2}), obj{"n": 2})
	}},

	{name: "overload_ends_the_join", needs: toSend, limits: chime.Limits{InboxMessages: 4}, script: func(s *stage) {
		begun := make(chan struct{})
		s.On("block", func(ctx context.Context, _ *channel.Socket, _ channel.Message) (any, error) {
			close(begun)
			<-ctx.Done() // the overload cancels it
			return nil, ctx.Err()
		})
		ann := s.Dial("ann")
		one, two, bob := ann.Join("room:1", nil), ann.Join("room:2", nil), s.Join("bob", "room:1")
		one.Push("block", nil)
		raw.Await(s.T, begun, "the blocking handler")
		for n := range 5 { // one more than the inbox holds
			one.Push("echo", obj{"n": n})
		}
		one.WantFailed("overloaded")
		s.WantLeave("room:1", channel.Slow)
		s.Broadcast("room:1", "news", obj{})
		bob.WantBroadcast("news", obj{})
		two.WantReply(two.Push("echo", obj{"n": 1}), obj{"n": 1})
		one.WantNothing()
		again := ann.Join("room:1", nil)
		again.WantReply(again.Push("echo", obj{"n": 2}), obj{"n": 2})
	}},
}

var leaving = []behaviour{
	{name: "leave", needs: toSend, script: func(s *stage) {
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		said := ann.Push("echo", obj{"n": 1})
		ref := ann.Leave()
		ann.WantReply(said, obj{"n": 1}) // what was sent before is answered before
		ann.WantLeft(ref)
		s.WantLeave("room:1", channel.Left)
		s.Broadcast("room:1", "news", obj{})
		bob.WantBroadcast("news", obj{})
		ann.WantNothing()
		again := ann.client.Join("room:1", nil)
		s.Broadcast("room:1", "news", obj{})
		again.WantBroadcast("news", obj{})
	}},

	{name: "leave_without_a_join", needs: toSend, script: func(s *stage) {
		ann := s.Dial("ann")
		for _, topic := range []string{"room:1", "nowhere:1"} {
			m := &member{client: ann, topic: topic, ref: "7"}
			m.WantReply(m.Leave(), obj{})
			m.WantNothing()
		}
	}},

	{name: "event_after_leave", needs: toSend, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		ann.WantLeft(ann.Leave())
		ann.WantUnmatched(ann.Push("echo", nil))
		ann.WantReply(ann.Leave(), obj{})
		ann.WantNothing()
	}},

	{name: "stale_join_ref_is_silent", needs: toSend, script: func(s *stage) {
		ann := s.Dial("ann")
		old := ann.Join("room:1", nil)
		now := ann.Join("room:1", nil)
		old.WantClosed()
		old.Push("echo", obj{"n": 1})
		old.Push("say", obj{"n": 2})
		old.Leave()
		now.WantReply(now.Push("echo", obj{"n": 3}), obj{"n": 3}) // and to the others nothing
		now.WantLeft(now.Leave())
	}},

	{name: "leave_handler", needs: toSend, script: func(s *stage) {
		var ofMessage context.Context
		s.On("keep", func(ctx context.Context, _ *channel.Socket, _ channel.Message) (any, error) {
			ofMessage = ctx //nolint:fatcontext // one message, whose context is looked at after the leave
			return nil, ctx.Err()
		})
		s.room.left = func(ctx context.Context, sock *channel.Socket, _ channel.Reason) {
			if sock.Identity().ID != "ann" {
				return
			}
			if err := ofMessage.Err(); !errors.Is(err, context.Canceled) {
				s.Errorf("the context of the handlers: got %v, want it cancelled", err)
			}
			if until, bounded := ctx.Deadline(); ctx.Err() != nil || !bounded || time.Until(until) > 5*time.Second {
				s.Errorf("the context of HandleLeave: got %v, want one that lives, for 5 s", ctx)
			}
			if err := sock.Push("bye", obj{}); !errors.Is(err, channel.ErrLeft) {
				s.Errorf("Push: got %v, want %v", err, channel.ErrLeft)
			}
			if err := sock.Broadcast(ctx, "left", obj{"who": sock.Assigned("name")}); err != nil {
				s.Errorf("Broadcast: %v", err)
			}
		}
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			sock.Assign("name", sock.Identity().ID)
			return channel.Accept(nil), nil
		}
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		ann.WantReply(ann.Push("keep", nil), obj{})
		ann.WantLeft(ann.Leave())
		bob.WantBroadcast("left", obj{"who": "ann"})
		ann.WantNothing()
	}},

	{name: "leave_closed", needs: toSend, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		ann.Close()
		s.WantLeave("room:1", channel.Closed)
		ann.WantEnd(1000)
	}},

	{name: "leave_gone", grace: noTime, timed: true, script: func(s *stage) {
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		ann.Cut()
		s.Broadcast("room:1", "news", obj{"n": 1}) // whether it has been noticed or not
		bob.WantBroadcast("news", obj{"n": 1})
		time.Sleep(ann.Silence())
		s.WantLeave("room:1", channel.Vanished)
		s.Broadcast("room:1", "news", obj{"n": 2})
		bob.WantBroadcast("news", obj{"n": 2})
	}},

	{name: "leave_kicked_by_its_channel", script: func(s *stage) {
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		s.room.socket().Disconnect("enough") // bob, who came last
		bob.WantEnd(1001)
		s.WantLeave("room:1", channel.Kicked)
		s.Broadcast("room:1", "news", obj{})
		ann.WantBroadcast("news", obj{})
	}},

	{name: "leave_kicked_by_the_router", needs: inStep, script: func(s *stage) {
		ann, too, bob := s.Join("ann", "room:1"), s.Join("ann", "room:1"), s.Join("bob", "room:1")
		s.Broadcast("room:1", "last words", obj{})
		s.Disconnect("ann")
		ann.WantBroadcast("last words", obj{}) // what was sent before goes out
		ann.WantEnd(1001)
		too.WantEnd(1001)
		s.WantLeave("room:1", channel.Kicked)
		s.WantLeave("room:1", channel.Kicked)
		bob.WantBroadcast("last words", obj{})
		s.Broadcast("room:1", "news", obj{})
		bob.WantBroadcast("news", obj{})
		s.Join("ann", "room:1") // may come back
	}},

	{name: "leave_in_drain", needs: inStep, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		s.Broadcast("room:1", "last words", obj{})
		if err := s.shutdown(); err != nil {
			s.Fatalf("Shutdown: %v", err)
		}
		s.WantLeave("room:1", channel.Drained)
		ann.WantBroadcast("last words", obj{})
		ann.WantEnd(1012)
		ann.WantDrain()
		s.WantBusy()
		if err := s.live.Health(s.Context()); !errors.Is(err, chime.ErrDraining) {
			s.Errorf("Health after Shutdown: got %v, want %v", err, chime.ErrDraining)
		}
		if s.store != nil { // which is the application's, and goes on
			if _, err := s.store.Append(s.Context(), "room:1", store.Message{Event: "epilogue", Payload: []byte("{}")}, store.Retention{}, nil); err != nil {
				s.Errorf("Append after Shutdown: %v, want the store left open", err)
			}
		}
	}},

	{name: "left_by_its_channel", needs: toSend, script: func(s *stage) {
		s.On("finish", func(_ context.Context, sock *channel.Socket, _ channel.Message) (any, error) {
			sock.Leave(nil)
			return obj{"n": 1}, sock.Push("bye", obj{}) // it is in until its handler has returned
		})
		ann := s.Dial("ann")
		one, two, bob := ann.Join("room:1", nil), ann.Join("room:2", nil), s.Join("bob", "room:1")
		last, behind := one.Push("finish", nil), one.Push("echo", obj{"n": 2})
		one.WantPush("bye", obj{})
		one.WantReply(last, obj{"n": 1})
		one.WantClosed()
		one.WantUnmatched(behind)
		s.WantLeave("room:1", channel.Left)
		one.WantReply(one.Leave(), obj{})
		s.Broadcast("room:1", "news", obj{})
		bob.WantBroadcast("news", obj{})
		two.WantReply(two.Push("echo", obj{"n": 3}), obj{"n": 3})
		one.WantNothing()
		again := ann.Join("room:1", nil)
		again.WantReply(again.Push("echo", obj{"n": 4}), obj{"n": 4})
	}},

	{name: "left_from_outside_of_handlers", needs: inStep, script: func(s *stage) {
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		s.Broadcast("room:1", "last words", obj{})
		s.room.socket().Leave(nil) // bob, who came last
		ann.WantBroadcast("last words", obj{})
		bob.WantBroadcast("last words", obj{})
		if s.transport.Dialect != "amber" { // which has no words for it
			bob.WantClosed()
		}
		s.WantLeave("room:1", channel.Left)
		s.Broadcast("room:1", "news", obj{})
		ann.WantBroadcast("news", obj{})
		bob.WantNothing()
	}},

	{name: "left_while_joining", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(_ context.Context, sock *channel.Socket, m channel.Message) (channel.Accepted, error) {
			sock.Leave(nil)
			return channel.Accept(obj{"n": 1}), sock.Push("welcome", obj{})
		}
		ann := s.Join("ann", "room:1")
		if want := (obj{"n": 1}); !same(ann.response, want) {
			s.Errorf("reply to the join: got %v, want %v", ann.response, want)
		}
		ann.WantPush("welcome", obj{})
		ann.WantClosed()
		s.WantLeave("room:1", channel.Left)
		s.Broadcast("room:1", "news", obj{})
		ann.WantNothing()
	}},

	{name: "left_with_an_error", script: func(s *stage) {
		for reason, why := range map[string]error{"moved": channel.Refuse("moved"), "internal": errors.New(secret)} {
			ann := s.Join("ann", "room:1")
			s.room.socket().Leave(why)
			if s.transport.Dialect == "amber" { // which has no words for it: its client comes back
				ann.WantEnd(1001)
			} else {
				ann.WantFailed(reason)
			}
			s.WantLeave("room:1", channel.Left)
			ann.WantUnseen(secret)
		}
	}},

	{name: "kicked_in_a_handler", needs: toSend, script: func(s *stage) {
		s.On("kick", func(_ context.Context, sock *channel.Socket, _ channel.Message) (any, error) {
			sock.Disconnect("enough")
			return nil, nil
		})
		kick := func(sock *channel.Socket, when string) {
			if sock.Identity().ID == when {
				sock.Disconnect("enough")
			}
		}
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			kick(sock, "joining")
			return channel.Accept(nil), nil
		}
		s.room.left = func(_ context.Context, sock *channel.Socket, _ channel.Reason) { kick(sock, "leaving") }

		joining := s.Dial("joining").TryJoin("room:1", nil)
		joining.WantEnd(1001)
		s.WantLeave("room:1", channel.Kicked)
		sending := s.Join("sending", "room:1")
		sending.Tell("kick", nil)
		sending.WantEnd(1001)
		s.WantLeave("room:1", channel.Kicked)
		leaving := s.Join("leaving", "room:1")
		leaving.Leave()
		leaving.WantEnd(1001)
		s.WantLeave("room:1", channel.Left)
	}},

	{name: "leave_expired", needs: toBeAnswered, script: func(s *stage) {
		// Long enough to join, which nobody knows beforehand.
		for valid := 50 * time.Millisecond; ; valid *= 2 {
			s.expire(time.Now().Add(valid))
			c, err := s.tryDial("acme", "ann")
			if err == nil && c.line.send(frame{joinRef: "1", ref: "1", topic: "room:1", event: "phx_join"}) == nil && c.box.hears("room:1") {
				c.WantEnd(1001)
				s.WantLeave("room:1", channel.Expired)
				return
			}
		}
	}},

	{name: "leave_in_every_topic", needs: toSend, grace: noTime, timed: true, script: func(s *stage) {
		ann := s.Dial("ann")
		want := map[leave]int{}
		for n := range 10 {
			m := ann.Join(fmt.Sprint("room:", n), nil)
			want[leave{m.topic, channel.Vanished}]++
		}
		ann.Cut()
		time.Sleep(ann.Silence())
		got := map[leave]int{}
		for range want {
			got[raw.Await(s.T, s.room.leaves, "HandleLeave")]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("HandleLeave: got %v, want %v", got, want)
		}
	}},

	{name: "leave_runs_once_when_both_sides_close", script: func(s *stage) {
		for range 10 {
			ann := s.Join("ann", "room:1")
			var both sync.WaitGroup
			both.Go(ann.Close)
			both.Go(func() { s.Disconnect("ann") })
			both.Wait()
			got := raw.Await(s.T, s.room.leaves, "HandleLeave") // once, as the room watches
			if !slices.Contains([]channel.Reason{channel.Closed, channel.Kicked, channel.Vanished}, got.why) {
				s.Errorf("HandleLeave: got %v, want one of the two", got)
			}
		}
	}},

	{name: "leave_runs_once_when_leave_and_end_meet", needs: toSend, script: func(s *stage) {
		for range 10 {
			ann := s.Join("ann", "room:1")
			var both sync.WaitGroup
			both.Go(func() {
				// Its connection may already be gone.
				_ = ann.line.send(frame{joinRef: ann.ref, ref: "9", topic: "room:1", event: "phx_leave"})
			})
			both.Go(func() { s.Disconnect("ann") })
			both.Wait()
			got := raw.Await(s.T, s.room.leaves, "HandleLeave")
			if got.why != channel.Left && got.why != channel.Kicked {
				s.Errorf("HandleLeave: got %v, want one of the two", got)
			}
		}
	}},

	{name: "leave_runs_once_whoever_ends_it", script: func(s *stage) {
		for range 10 {
			ann := s.Join("ann", "room:1")
			sock := s.room.socket()
			var all sync.WaitGroup
			all.Go(func() { sock.Leave(nil) })
			all.Go(func() { sock.Leave(nil) })
			all.Go(ann.Close)
			all.Go(func() { s.Disconnect("ann") })
			all.Wait()
			got := raw.Await(s.T, s.room.leaves, "HandleLeave") // once, as the room watches
			if !slices.Contains([]channel.Reason{channel.Left, channel.Closed, channel.Kicked, channel.Vanished}, got.why) {
				s.Errorf("HandleLeave: got %v, want one of the four", got)
			}
		}
	}},

	{name: "sent_before_close_is_handled", needs: toSend, script: func(s *stage) {
		var handled []int
		s.On("note", func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
			var n int
			err := m.Decode(&n)
			handled = append(handled, n)
			return nil, err
		})
		ann := s.Join("ann", "room:1")
		var want []int
		for n := range 50 {
			ann.Tell("note", n)
			want = append(want, n)
		}
		ann.Close()
		s.WantLeave("room:1", channel.Closed)
		if !slices.Equal(handled, want) {
			s.Errorf("handled before the leave: got %v, want %v", handled, want)
		}
	}},

	// What is not answered in time is handled all the same: see TestWhatWasBegunIsAnsweredBeforeADrain.
	{name: "sent_before_a_drain_is_answered", needs: toSend, script: func(s *stage) {
		var handled []int
		begun, release := make(chan struct{}), make(chan struct{})
		s.On("note", func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
			var n int
			err := m.Decode(&n)
			if n == 0 {
				close(begun)
				<-release
			}
			handled = append(handled, n)
			return nil, err
		})
		c := s.Dial("ann")
		ann, other := c.Join("room:1", nil), c.Join("room:2", nil)
		var want []int
		var refs []string
		for n := range 50 {
			refs = append(refs, ann.Push("note", n))
			want = append(want, n)
		}
		other.WantReply(other.Push("echo", obj{"n": 1}), obj{"n": 1}) // so that all have come
		<-begun
		// The node that it is on. Were another to end beside it by which a request comes, the client
		// could not be answered.
		live := s.lives[slices.IndexFunc(s.lives, func(live *chime.Router) bool { return live.Stats().Value("chime_topics") > 0 })]
		s.rest()
		ended := make(chan error, 1)
		go func() { ended <- live.Shutdown(context.Background()) }()
		for live.Stats().Value("chime_draining") == 0 {
			runtime.Gosched()
		}
		close(release)
		for _, ref := range refs {
			ann.WantReply(ref, obj{})
		}
		ann.WantEnd(1012)
		if err := <-ended; err != nil {
			s.Fatalf("Shutdown: %v", err)
		}
		left := []string{raw.Await(s.T, s.room.leaves, "HandleLeave").topic, raw.Await(s.T, s.room.leaves, "HandleLeave").topic}
		if slices.Sort(left); !slices.Equal(left, []string{"room:1", "room:2"}) {
			s.Errorf("HandleLeave: got %v, want one of each topic", left)
		}
		if !slices.Equal(handled, want) {
			s.Errorf("handled before the leave: got %v, want %v", handled, want)
		}
		ann.box.empty(s.T, "room:1")
	}},

	{name: "connect_is_refused", script: func(s *stage) {
		got := s.WantRefused("", http.StatusUnauthorized)
		if got.body != "{\"reason\":\"no token\"}\n" {
			s.Errorf("got %q, want the reason", got.body)
		}
	}},
}
