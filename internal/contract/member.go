package contract

import (
	"context"
	"fmt"
	"sync"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

var membership = []behaviour{
	{name: "member_after_the_reply", needs: toBeAnswered, script: func(s *stage) {
		s.room.member = func(ctx context.Context, sock *channel.Socket) {
			if sock.Identity().ID == "bob" {
				return
			}
			for _, err := range []error{
				sock.Push("welcome", obj{}),
				sock.Broadcast(ctx, "user_joined", obj{"id": sock.Identity().ID}, channel.Ephemeral()),
				sock.BroadcastFrom(ctx, "others", obj{}),
			} {
				if err != nil {
					s.Errorf("HandleMember: %v", err)
				}
			}
		}
		bob := s.Join("bob", "room:1")
		ann := s.Join("ann", "room:1")
		ann.WantPush("welcome", obj{})
		ann.WantBroadcast("user_joined", obj{"id": "ann"})
		bob.WantBroadcast("user_joined", obj{"id": "ann"})
		bob.WantBroadcast("others", obj{})
		ann.WantNothing()
	}},

	{name: "members_that_join_at_once_learn_of_each_other", needs: toBeAnswered, script: func(s *stage) {
		var both sync.WaitGroup
		both.Add(2)
		s.room.joined = func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
			both.Done()
			both.Wait()
			return channel.Accept(nil), nil
		}
		var mu sync.Mutex        // guards met
		met := map[string]bool{} // who has seen the other in Members
		done := make(chan struct{}, 2)
		s.room.member = func(ctx context.Context, sock *channel.Socket) {
			if err := sock.BroadcastFrom(ctx, "met", obj{"id": sock.Identity().ID}); err != nil {
				s.Errorf("HandleMember: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			list, err := sock.Members(ctx)
			if err != nil {
				s.Errorf("Members: %v", err)
			}
			met[sock.Identity().ID] = len(list) == 2
			done <- struct{}{}
		}
		ann, bob := s.Dial("ann").TryJoin("room:1", nil), s.Dial("bob").TryJoin("room:1", nil)
		ann.WantJoined()
		bob.WantJoined()
		for range 2 {
			raw.Await(s.T, done, "HandleMember")
		}
		mu.Lock()
		defer mu.Unlock()
		if !met["ann"] {
			ann.WantBroadcast("met", obj{"id": "bob"})
		}
		if !met["bob"] {
			bob.WantBroadcast("met", obj{"id": "ann"})
		}
	}},

	{name: "member_crash", needs: toBeAnswered, script: func(s *stage) {
		s.room.member = func(_ context.Context, sock *channel.Socket) {
			if sock.Identity().ID != "bob" {
				panic(secret)
			}
		}
		bob := s.Join("bob", "room:1")
		ann := s.Join("ann", "room:1")
		ann.WantFailed("channel_crash")
		s.WantLeave("room:1", channel.Panicked)
		s.Broadcast("room:1", "news", obj{})
		bob.WantBroadcast("news", obj{})
		ann.WantNothing()
		ann.WantUnseen(secret)
	}},

	{name: "member_disconnects", needs: toBeAnswered, script: func(s *stage) {
		replied := make(chan struct{})
		s.room.member = func(_ context.Context, sock *channel.Socket) {
			<-replied // a network that breaks now would take the reply with it: nobody resumes what has ended
			sock.Disconnect("enough")
		}
		ann := s.Join("ann", "room:1")
		close(replied)
		ann.WantEnd(1001)
		s.WantLeave("room:1", channel.Kicked)
	}},

	{name: "member_has_left_meanwhile", needs: toSend, script: func(s *stage) {
		begun, release := make(chan struct{}), make(chan struct{})
		s.room.member = func(context.Context, *channel.Socket) {
			close(begun)
			<-release
		}
		ann := s.Join("ann", "room:1")
		raw.Await(s.T, begun, "HandleMember")
		echoed := ann.Push("echo", obj{"n": 1}) // waits for it
		left := ann.Leave()
		s.Broadcast("room:1", "news", obj{})
		ann.WantBroadcast("news", obj{})
		close(release)
		ann.WantReply(echoed, obj{"n": 1})
		ann.WantReply(left, obj{})
		s.WantLeave("room:1", channel.Left)
	}},

	{name: "no_member_without_a_reply", needs: toBeAnswered, script: func(s *stage) {
		s.room.member = func(context.Context, *channel.Socket) { s.Errorf("HandleMember of a client that was not let in") }
		for i, accepted := range []func() (channel.Accepted, error){
			func() (channel.Accepted, error) { return channel.Accepted{}, channel.Refuse("no room left") },
			func() (channel.Accepted, error) { return channel.Accept([]int{1}), nil },
			func() (channel.Accepted, error) { panic(secret) },
		} {
			s.room.joined = func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) { return accepted() }
			ann := s.Dial(fmt.Sprint("ann", i)).TryJoin("room:1", nil)
			ann.WantRefused([]string{"no room left", "internal", "join crashed"}[i])
		}
		s.WantLeave("room:1", channel.Panicked)
	}},
}
