package contract

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

const (
	grace  = 15 * time.Second // unless WithGrace says otherwise
	within = 14 * time.Second

	silence = 35 * time.Second // after which a client that polls counts as cut off
)

// A client socket outlives its connections, and nobody notices. All of these
// are in bubbles, where time is exact.
var lasting = []behaviour{
	{name: "back_within_grace", needs: toResume | inStep, timed: true, script: func(s *stage) {
		s.room.left = hasLeft(s)
		bob, ann := s.Join("bob", "room:1"), s.Join("ann", "room:1")
		sock := s.room.socket()
		for n := range 3 { // each time it may take as long
			ann.Hear(0)
			said := ann.Push("say", obj{"before": n})
			synctest.Wait()
			ann.Lose()
			s.Broadcast("room:1", "news", obj{"n": n})
			if err := sock.Push("psst", obj{"n": n}); err != nil {
				s.Errorf("Push: %v", err)
			}
			time.Sleep(within)
			if got := s.Members("room:1"); len(got) != 2 {
				s.Errorf("Members: got %v, want ann too", got)
			}
			bob.Tell("say", obj{"who": "bob"})
			synctest.Wait()
			ref := ann.Push("echo", obj{"away": n})
			ann.Return()
			for _, m := range []*member{ann, bob} {
				m.WantBroadcast("say", obj{"before": n})
				if m == ann {
					ann.WantReply(said, obj{})
				}
				m.WantBroadcast("news", obj{"n": n})
				if m == ann {
					ann.WantPush("psst", obj{"n": n})
				}
				m.WantBroadcast("say", obj{"who": "bob"})
			}
			ann.WantReply(ref, obj{"away": n})
		}
		ann.WantNothing()
		bob.WantNothing()
		s.WantNobodyLeft()
	}},

	{name: "a_box_between_closes", needs: toResume | inStep, timed: true, script: func(s *stage) {
		s.room.left = hasLeft(s)
		bob, ann := s.Join("bob", "room:1"), s.Join("ann", "room:1")
		for _, code := range []websocket.StatusCode{websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusServiceRestart, websocket.StatusNoStatusRcvd} {
			ann.Hear(0)
			ref := ann.Push("echo", obj{"before": code})
			synctest.Wait()
			ann.LoseTo(code)
			bob.Tell("say", obj{"away": code})
			synctest.Wait()
			if got := s.Members("room:1"); len(got) != 2 {
				s.Errorf("Members: got %v, want ann too", got)
			}
			ann.Return()
			ann.WantReply(ref, obj{"before": code})
			ann.WantBroadcast("say", obj{"away": code})
			bob.WantBroadcast("say", obj{"away": code})
		}
		time.Sleep(time.Minute)
		ann.WantNothing()
		bob.WantNothing()
		s.WantNobodyLeft()
	}},

	{name: "gone_after_grace", needs: toResume, timed: true, script: func(s *stage) {
		s.room.left = hasLeft(s)
		bob, ann := s.Join("bob", "room:1"), s.Join("ann", "room:1")
		ann.Lose()
		time.Sleep(ann.Silence() + grace - time.Millisecond)
		bob.WantNothing()
		s.WantNobodyLeft()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		s.WantLeave("room:1", channel.Vanished)
		bob.WantBroadcast("has left", obj{"who": "ann", "why": "vanished"})
		ann.Return()
		ann.WantEnd(whileAway) // it is not let in as who it was
		s.Join("ann", "room:1")
		time.Sleep(time.Minute)
		bob.WantNothing()
		s.WantNobodyLeft()
	}},

	{name: "gone_at_once", needs: notToResume, timed: true, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		ann.Cut() // it could not come back
		synctest.Wait()
		s.WantLeave("room:1", channel.Vanished)
		time.Sleep(time.Minute)
		s.WantNobodyLeft()
	}},

	{name: "ends_while_away", needs: toResume, timed: true, limits: chime.Limits{QueueBytes: 740}, script: func(s *stage) {
		s.room.left = hasLeft(s)
		bob := s.Join("bob", "room:1")
		for _, end := range []struct {
			why   channel.Reason
			after time.Duration
			by    func(*member)
		}{
			{channel.Kicked, 0, func(*member) { s.Disconnect("ann") }},
			{channel.Kicked, 0, func(*member) { s.room.socket().Disconnect("enough") }},
			{channel.Closed, 0, func(ann *member) { ann.Close() }},
			{channel.Slow, 0, func(*member) {
				for n := range 6 { // of 145 bytes: one more than waits for somebody who is not there
					s.Broadcast("room:1", "news", obj{"n": n}, channel.Ephemeral())
					bob.WantBroadcast("news", obj{"n": n})
				}
			}},
			{channel.Expired, 9 * time.Second, func(*member) {}},
			{channel.Vanished, grace, func(*member) {}},
		} {
			if end.why == channel.Expired {
				s.expire(time.Now().Add(end.after))
			}
			ann := s.Join("ann", "room:1")
			ann.Lose()
			synctest.Wait() // a poll shows it again
			s.expire(time.Time{})
			if end.why != channel.Expired { // who expires on time whether the server has seen it or not
				time.Sleep(ann.Silence())
			}
			synctest.Wait() // until the server has seen it
			cut := time.Now()
			end.by(ann)
			if end.after > 0 {
				time.Sleep(end.after - time.Millisecond)
				s.WantNobodyLeft()
			}
			s.WantLeave("room:1", end.why)
			if took := time.Since(cut); took != end.after {
				s.Errorf("%s after %v, want %v", end.why, took, end.after)
			}
			bob.WantBroadcast("has left", obj{"who": "ann", "why": string(end.why)})
			ann.Return()
			ann.WantEnd(whileAway)
			time.Sleep(time.Minute)
			s.WantNobodyLeft() // a second time
		}
	}},

	{name: "drained_while_away", needs: toResume, timed: true, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		ann.Lose()
		synctest.Wait()
		if err := s.shutdown(); err != nil {
			s.Fatalf("Shutdown: %v", err)
		}
		s.WantLeave("room:1", channel.Drained)
		ann.Return() // to a server that takes nobody
		ann.WantEnd(whileAway)
		time.Sleep(time.Minute)
		s.WantNobodyLeft()
	}},

	{name: "leaves_a_topic_while_away", needs: toResume, timed: true, script: func(s *stage) {
		release := make(chan struct{})
		s.On("boom", func(context.Context, *channel.Socket, channel.Message) (any, error) {
			<-release
			panic(secret)
		})
		bob, c := s.Join("bob", "room:1"), s.Dial("ann")
		left := c.Join("room:left", nil)
		kicked := c.Join("room:by its channel", nil)
		sock := s.room.socket()
		replaced := c.Join("room:replaced", nil)
		crashed := c.Join("room:panicked", nil)
		stays := c.Join("room:1", nil)
		crashed.Tell("boom", nil)
		stays.WantReply(stays.Push("echo", obj{"n": 1}), obj{"n": 1})
		synctest.Wait()
		c.Lose()
		ref := left.Leave()
		sock.Leave(nil)
		again := c.TryJoin("room:replaced", nil)
		close(release)
		c.Return()
		left.WantLeft(ref)
		kicked.WantClosed()
		again.WantJoined()
		replaced.WantClosed()
		crashed.WantFailed("channel_crash")
		want := []leave{
			{"room:by its channel", channel.Left}, {"room:left", channel.Left},
			{"room:panicked", channel.Panicked}, {"room:replaced", channel.Replaced},
		}
		var got []leave
		for range want {
			got = append(got, raw.Await(s.T, s.room.leaves, "HandleLeave"))
		}
		slices.SortFunc(got, func(a, b leave) int { return strings.Compare(a.topic, b.topic) })
		if !slices.Equal(got, want) {
			s.Errorf("HandleLeave: got %v, want %v", got, want)
		}
		s.Broadcast("room:1", "news", obj{})
		stays.WantBroadcast("news", obj{})
		bob.WantBroadcast("news", obj{})
		for _, m := range []*member{left, kicked, replaced, crashed, stays, bob} {
			m.WantNothing()
		}
		time.Sleep(10 * time.Second)
		s.WantNobodyLeft()
	}},

	{name: "identity_is_shown_again", needs: toResume, timed: true, script: func(s *stage) {
		began := time.Now()
		s.expire(began.Add(10 * time.Second))
		ann := s.Join("ann", "room:1")
		time.Sleep(9 * time.Second)
		s.expire(began.Add(30 * time.Second))
		ann.Lose()
		ann.Return()
		time.Sleep(20 * time.Second)
		ann.WantReply(ann.Push("echo", obj{"n": 1}), obj{"n": 1})
		s.WantNobodyLeft()
		ann.WantEnd(1001)
		s.WantLeave("room:1", channel.Expired)
		if took := time.Since(began); took != 30*time.Second {
			s.Errorf("expired after %v, want 30s", took)
		}
	}},

	{name: "join_reply_is_lost", needs: toResume, timed: true, script: func(s *stage) {
		joins := 0
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			joins++
			return channel.Accept(obj{"n": joins}), sock.Push("welcome", obj{})
		}
		c := s.Dial("ann")
		c.Join("room:1", nil)
		c.Hear(0)
		two := c.TryJoin("room:2", nil)
		synctest.Wait()
		s.Broadcast("room:2", "news", obj{})
		synctest.Wait()
		c.Lose()
		s.Broadcast("room:2", "more", obj{})
		c.Return()
		two.WantJoined()
		if want := (obj{"n": 2}); !same(two.response, want) {
			s.Errorf("reply to the join: got %v, want %v: it is not handled again", two.response, want)
		}
		two.WantPush("welcome", obj{})
		two.WantBroadcast("news", obj{})
		two.WantBroadcast("more", obj{})
		two.WantNothing()
		s.WantNobodyLeft()
	}},

	{name: "reply_is_lost", needs: toResume, timed: true, script: func(s *stage) {
		handled := map[int]int{}
		s.On("count", func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
			var p struct{ N int }
			err := m.Decode(&p)
			handled[p.N]++
			return p, err
		})
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		const total = 20
		refs := map[int]string{}
		for n := range total {
			switch n % 4 {
			case 1:
				ann.Hear(0)
			case 3: // of three nothing was heard, and one was not even sent
				synctest.Wait()
				ann.Lose()
			}
			refs[n] = ann.Push("count", obj{"n": n})
			if n%4 == 3 {
				ann.Return()
			}
		}
		for n := range total {
			ann.WantReply(refs[n], obj{"N": n})
		}
		ann.WantNothing()
		bob.WantNothing()
		synctest.Wait()
		for n := range total {
			if handled[n] != 1 {
				s.Errorf("message %d was handled %d times", n, handled[n])
			}
		}
	}},

	// The replay is longer than the queue, so it goes on when there is room.
	{
		name: "replay_is_cut", needs: toResume | toRemember, timed: true,
		history: channel.History{Keep: 1000, Replay: 500}, limits: chime.Limits{QueueBytes: 6000},
		script: func(s *stage) {
			const total, replayed = 600, 500
			s.BroadcastMany("room:1", 1, replayed)
			c := s.Dial("ann")
			c.Stall(50)
			ann := c.Join("room:1", nil)
			synctest.Wait()
			c.Lose()
			s.BroadcastMany("room:1", replayed+1, total) // more than the queue of who is away holds
			time.Sleep(within)
			c.Stall(10)
			c.Return()
			synctest.Wait()
			c.Lose()
			c.Return()
			ann.WantMany(1, total)
			ann.WantNothing()
			s.WantNobodyLeft()
		},
	},

	{name: "one_order_for_who_comes_and_goes", needs: toResume, timed: true, script: func(s *stage) {
		const publishers, each = 4, 25
		stays, goes, talks := s.Join("bob", "room:1"), s.Join("ann", "room:1"), s.Join("eve", "room:1")
		var all sync.WaitGroup
		for p := range publishers {
			all.Go(func() {
				for n := range each {
					s.Broadcast("room:1", "new", obj{"n": p*each + n})
					time.Sleep(time.Second)
				}
			})
		}
		for range each / 5 {
			goes.Lose()
			talks.Tell("say", obj{"n": -1})
			time.Sleep(2 * time.Second)
			goes.Tell("say", obj{"n": -2})
			goes.Return()
			time.Sleep(3 * time.Second)
		}
		all.Wait()
		const total = publishers*each + 2*each/5
		var order []string
		for n := range total {
			want := stays.next("a message")
			order = append(order, want.String())
			for _, m := range []*member{goes, talks} {
				if got := m.next("a message"); got.String() != want.String() {
					m.Fatalf("message %d: got %v, and another client %v after %v", n, got, want, order)
				}
			}
		}
		for _, m := range []*member{stays, goes, talks} {
			m.WantNothing()
		}
		s.WantNobodyLeft()
	}},

	{
		// What is retained and does not fit waits in the history, not in a queue.
		name: "misses_more_than_a_queue", needs: toResume | toRemember, timed: true,
		limits: chime.Limits{QueueBytes: 1500},
		script: func(s *stage) {
			ann := s.Join("ann", "room:1")
			ann.Lose()
			synctest.Wait() // until the server has seen it
			s.BroadcastMany("room:1", 1, 200)
			ann.Return()
			ann.WantMany(1, 200)
			s.BroadcastMany("room:1", 201, 201)
			ann.WantMany(201, 201)
			ann.WantNothing()
			s.WantNobodyLeft()
		},
	},

	{
		name: "missed_too_much", needs: toResume | toRemember, timed: true,
		limits: chime.Limits{UnackedMessages: 10},
		script: func(s *stage) {
			c := s.Dial("ann")
			ann := c.Join("room:1", nil)
			s.BroadcastMany("room:1", 1, 1)
			at := position{Epoch: s.store.Epoch(), Offset: ann.WantRetained("new", obj{"n": 1})}
			c.Rest() // on another connection it would be sent again what was lost
			c.Hear(0)
			for n := 2; n <= 20; n++ {
				s.BroadcastMany("room:1", n, n)
				synctest.Wait()
			}
			polled := c.Silence() > 0
			c.Lose()
			c.Return()
			if polled { // nothing is on its way that was not asked for
				ann.WantMany(2, 20)
				ann.WantNothing()
				s.WantNobodyLeft()
				return
			}
			s.WantLeave("room:1", channel.Vanished)
			again := s.Dial("ann")
			again.Rest() // or it would miss too much of the replay, too
			late := again.Join("room:1", obj{"@since": at})
			late.WantRecovered(19, true)
			late.WantMany(2, 20)
			late.WantNothing()
			s.WantNobodyLeft()
		},
	},
}

// hasLeft has a room tell the others who has left and why.
func hasLeft(s *stage) func(context.Context, *channel.Socket, channel.Reason) {
	return func(ctx context.Context, sock *channel.Socket, why channel.Reason) {
		if err := sock.Broadcast(ctx, "has left", obj{"who": sock.Identity().ID, "why": string(why)}); err != nil {
			s.Errorf("Broadcast: %v", err)
		}
	}
}
