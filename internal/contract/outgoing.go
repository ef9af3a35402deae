package contract

import (
	"context"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// rewriting is of what each client is sent of "new": bob only what is even, and all others
// with their name in it.
var rewriting = []behaviour{
	{name: "outgoing_is_for_each_client", outgoing: evenForBob, script: func(s *stage) {
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		for n := range 6 {
			s.Broadcast("room:1", "new", obj{"n": n}, channel.Ephemeral())
			s.Broadcast("room:1", "news", obj{"n": n}, channel.Ephemeral()) // nobody asks about it, and it keeps its place
		}
		for n := range 6 {
			ann.WantBroadcast("new", obj{"n": n, "to": "ann"})
			ann.WantBroadcast("news", obj{"n": n})
			if n%2 == 0 {
				bob.WantBroadcast("new", obj{"n": n, "to": "bob"})
			}
			bob.WantBroadcast("news", obj{"n": n})
		}
		ann.WantNothing()
		bob.WantNothing()
	}},

	{name: "outgoing_of_what_is_kept", needs: toRemember, history: channel.History{Keep: 1000, Replay: 500}, outgoing: evenForBob, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 300) // more than a page, and than what waits for its function
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		s.BroadcastMany("room:1", 301, 310)
		for n := 1; n <= 310; n++ {
			ann.WantShown(obj{"n": n, "to": "ann"})
			if n%2 == 0 {
				bob.WantShown(obj{"n": n, "to": "bob"})
			}
		}
	}},

	{name: "outgoing_moves_the_position", needs: toRemember | toBePlaced | toSend, outgoing: evenForBob, script: func(s *stage) {
		c := s.Dial("bob")
		bob := c.Join("room:1", obj{"@last": 0})
		for range 10 {
			s.Broadcast("room:1", "new", obj{"n": 1})
		}
		at, top := position{Epoch: s.store.Epoch()}, uint64(0)
		messages, now, err := s.live.History(s.Context(), "room:1", 1)
		if err != nil || len(messages) != 1 {
			s.Fatalf("History: %v", err)
		}
		for top = now.Offset; at.Offset < top; {
			at.Offset = bob.WantPosition()
		}
		bob.WantLeft(bob.Leave())
		again := c.Join("room:1", obj{"@since": at})
		again.WantRecovered(0, true)
		again.WantNothing()
	}},

	{name: "outgoing_crash_ends_that_join", needs: toBeAnswered, outgoing: func(ctx context.Context, s *channel.Socket, m channel.Message) (any, bool) {
		if s.Identity().ID == "ann" {
			panic(secret)
		}
		return m.Payload, true
	}, script: func(s *stage) {
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		s.Broadcast("room:1", "new", obj{"n": 1}, channel.Ephemeral())
		ann.WantFailed("channel_crash")
		s.WantLeave("room:1", channel.Panicked)
		bob.WantBroadcast("new", obj{"n": 1})
		s.Broadcast("room:1", "news", obj{}, channel.Ephemeral())
		bob.WantBroadcast("news", obj{})
		ann.WantNothing()
		ann.WantUnseen(secret)
	}},

	{name: "outgoing_that_blocks_stops_nobody_else", needs: toSend, outgoing: waits, script: func(s *stage) {
		begun, release := make(chan struct{}, 100), make(chan struct{})
		s.room.waits = func() {
			begun <- struct{}{}
			<-release
		}
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		s.Broadcast("room:1", "new", obj{"n": 1}, channel.Ephemeral())
		raw.Await(s.T, begun, "the function")
		bob.WantBroadcast("new", obj{"n": 1})
		ann.WantReply(ann.Push("echo", obj{"n": 2}), obj{"n": 2}) // replies and handlers go on
		s.Broadcast("room:1", "news", obj{}, channel.Ephemeral())
		bob.WantBroadcast("news", obj{})
		ann.WantNothing()
		close(release)
		ann.WantBroadcast("new", obj{"n": 1})
		ann.WantBroadcast("news", obj{})
	}},
}

// evenForBob sends bob what is even, and tells each client who it is.
func evenForBob(_ context.Context, s *channel.Socket, m channel.Message) (any, bool) {
	var p struct {
		N  int    `json:"n"`
		To string `json:"to"`
	}
	if err := m.Decode(&p); err != nil {
		panic(err)
	}
	p.To = s.Identity().ID
	return p, p.To != "bob" || p.N%2 == 0
}

// waits has ann wait.
func waits(_ context.Context, s *channel.Socket, m channel.Message) (any, bool) {
	if s.Identity().ID == "ann" {
		s.Assigned("room").(*room).waits()
	}
	return m.Payload, true
}

// WantShown wants the next message that is kept and shown to this client. Positions of
// those that are not may come before it.
func (m *member) WantShown(payload any) {
	m.Helper()
	f := m.next("the broadcast new")
	for f.event == "@position" {
		m.wantPosition(f)
		f = m.next("the broadcast new")
	}
	if offset := m.position(f); (offset > 0) != m.positioned() {
		m.Fatalf("%v has the offset %d; want one: %v", f, offset, m.positioned())
	}
	m.want(f, f.joinRef, f.ref, "new", payload)
}

// WantPosition wants the position of what is not shown to this client.
func (m *member) WantPosition() uint64 {
	m.Helper()
	return m.wantPosition(m.next("a position"))
}

func (m *member) wantPosition(f frame) (offset uint64) {
	m.Helper()
	if m.stage.transport.Dialect == "bare" {
		if f.id == "" || f.payload != nil {
			m.Fatalf("got %v, want an id alone", f)
		}
		return 0
	}
	offset = m.position(f)
	m.want(f, f.joinRef, f.ref, "@position", obj{})
	if offset == 0 {
		m.Fatalf("got %v, want a position", f)
	}
	return offset
}
