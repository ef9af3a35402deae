package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// Retained messages carry n, from 1.

var remembering = []behaviour{
	{name: "replay", needs: toRemember, history: channel.History{Keep: 10, Replay: 3}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 5)
		ann := s.Join("ann", "room:1")
		ann.WantMany(3, 5)
		s.BroadcastMany("room:1", 6, 7)
		ann.WantMany(6, 7)
		ann.WantNothing()
	}},

	{name: "replay_none", needs: toRemember, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 5)
		ann := s.Join("ann", "room:1")
		s.BroadcastMany("room:1", 6, 6)
		ann.WantMany(6, 6)
		ann.WantNothing()
	}},

	{name: "replay_of_what_is_kept", needs: toRemember | toBeAnswered, history: channel.History{Keep: 3, Replay: 3}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 10)
		ann := s.Dial("ann").Join("room:1", obj{"@last": 500})
		ann.WantHistory(3)
		ann.WantMany(8, 10)
		ann.WantNothing()
	}},

	{name: "replay_again", needs: toRemember | toSend, history: channel.History{Keep: 10, Replay: 2}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 2)
		c := s.Dial("ann")
		ann := c.Join("room:1", nil)
		ann.WantMany(1, 2)
		ann.WantLeft(ann.Leave())
		again := c.Join("room:1", nil) // it did not say what it has
		again.WantMany(1, 2)
		again.WantNothing()
	}},

	{name: "last", needs: toRemember | toBeAnswered, history: channel.History{Keep: 10, Replay: 3}, script: func(s *stage) {
		seen := make(chan string, 2)
		s.room.joined = func(_ context.Context, _ *channel.Socket, m channel.Message) (channel.Accepted, error) {
			seen <- string(m.Payload)
			return channel.Accept(nil), nil
		}
		s.BroadcastMany("room:1", 1, 5)
		ann := s.Dial("ann").Join("room:1", obj{"@last": 2, "name": "Ann"})
		if got := raw.Await(s.T, seen, "HandleJoined"); got != `{"name":"Ann"}` {
			s.Errorf("payload of the join: got %s, want it without @last", got)
		}
		ann.WantHistory(2)
		ann.WantMany(4, 5)
		s.BroadcastMany("room:1", 6, 6)
		ann.WantMany(6, 6)
		ann.WantNothing()
		none := s.Dial("bob").Join("room:1", obj{"@last": 0})
		none.WantHistory(0)
		none.WantNothing()
	}},

	{name: "malformed_asks", needs: toRemember | toSend, script: func(s *stage) {
		for _, ask := range []obj{
			{"@last": -1}, {"@last": "2"}, {"@last": 1.5}, {"@last": nil, "@since": obj{}},
			{"@since": 7}, {"@since": obj{"epoch": "e"}}, {"@since": obj{"epoch": "e", "offset": -1}}, {"@since": "e:1"},
		} {
			ann := s.Dial("ann").TryJoin("room:1", ask)
			if response := ann.wantStatus(ann.ref, "error"); response["reason"] == "internal" {
				s.Errorf("join with %v: got %v, want a reason that helps", ask, response)
			}
			ann.WantNothing()
		}
	}},

	{name: "positions_are_for_who_asks", needs: toRemember | toBeAnswered | inStep, history: channel.History{Keep: 10, Replay: 1}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 1)
		plain := s.Join("ann", "room:1")
		if got := plain.history != nil; got != plain.hasHistory() {
			s.Errorf("@history in the reply: got %v, want %v", got, plain.hasHistory())
		}
		bob := s.Dial("bob").Join("room:1", obj{"@last": 1})
		bob.WantHistory(1)
		plain.WantMany(1, 1) // WantMany looks at the refs
		bob.WantMany(1, 1)
		s.BroadcastMany("room:1", 2, 2)
		s.Broadcast("room:1", "cursor", obj{}, channel.Ephemeral())
		for _, m := range []*member{plain, bob} {
			m.WantMany(2, 2)
			if offset := m.WantBroadcast("cursor", obj{}); offset != 0 {
				s.Errorf("cursor has the offset %d, want none", offset)
			}
		}
	}},

	{name: "no_history_no_positions", needs: toForget, script: func(s *stage) {
		ann := s.Dial("ann").Join("room:1", obj{"@last": 5})
		if ann.history != nil {
			s.Errorf("@history: got %v, want none: this topic keeps nothing", *ann.history)
		}
		s.Broadcast("room:1", "news", obj{})
		if offset := ann.WantBroadcast("news", obj{}); offset != 0 {
			s.Errorf("news has the offset %d, want none", offset)
		}
	}},

	{name: "broadcasts_that_are_not_kept", needs: toRemember, history: channel.History{Keep: 10, Replay: 10}, script: func(s *stage) {
		s.Join("ann", "room:1")
		s.BroadcastMany("room:1", 1, 1)
		s.Broadcast("room:1", "cursor", obj{}, channel.Ephemeral())
		if err := s.room.socket().BroadcastFrom(s.Context(), "typing", obj{}); err != nil {
			s.Errorf("BroadcastFrom: %v", err)
		}
		if err := s.room.socket().Push("psst", obj{}); err != nil {
			s.Errorf("Push: %v", err)
		}
		s.BroadcastMany("room:1", 2, 2)
		bob := s.Join("bob", "room:1")
		bob.WantMany(1, 2)
		bob.WantNothing()
	}},

	{name: "binary_is_kept", needs: toRemember | toCarryBytes, history: channel.History{Keep: 10, Replay: 10}, script: func(s *stage) {
		s.Broadcast("room:1", "image", channel.Binary("\x89PNG\r\n"))
		ann := s.Join("ann", "room:1")
		ann.WantRetainedBinary("image", []byte("\x89PNG\r\n"))
		bob := s.Dial("bob").Join("room:1", obj{"@last": 1})
		bob.WantRetainedBinary("image", []byte("\x89PNG\r\n"))
	}},

	{name: "bytes_move_the_position", needs: toRemember | toBeAnswered, history: channel.History{Keep: 10, Replay: 10}, script: func(s *stage) {
		bob := s.Dial("bob").Join("room:1", obj{"@last": 0})
		epoch := bob.WantHistory(0).Epoch
		s.Broadcast("room:1", "image", channel.Binary("\xff\x00"))
		offset := bob.WantRetainedBinary("image", []byte("\xff\x00"))
		s.Broadcast("room:1", "cursor", channel.Binary("\x07"), channel.Ephemeral())
		if f := bob.WantBinary("cursor", []byte("\x07")); f.ref != "" {
			s.Fatalf("got %v, want no position of what is not retained", f)
		}
		if offset == 0 {
			return // a dialect without positions
		}
		again := s.Dial("bob").Join("room:1", obj{"@since": position{Epoch: epoch, Offset: offset}})
		again.WantRecovered(0, true)
		again.WantNothing()
	}},

	{name: "one_order_for_all", needs: toRemember, history: channel.History{Keep: 1000, Replay: 500}, script: func(s *stage) {
		const publishers, each = 4, 50
		members := []*member{s.Join("ann", "room:1"), s.Join("bob", "room:1")}
		var all sync.WaitGroup
		for p := range publishers {
			all.Go(func() {
				for n := range each {
					s.Broadcast("room:1", "new", obj{"n": p*each + n})
				}
			})
		}
		members = append(members, s.Join("late", "room:1")) // in the middle, with all of it
		all.Wait()
		kept, _, err := s.live.History(s.Context(), "room:1", publishers*each)
		if err != nil || len(kept) != publishers*each {
			s.Fatalf("History: got %d messages, %v; want %d", len(kept), err, publishers*each)
		}
		for _, m := range members {
			for _, want := range kept {
				f := m.next("a message")
				offset := m.position(f)
				m.want(f, f.joinRef, f.ref, "new", json.RawMessage(want.Payload))
				if m.positioned() && offset != want.Offset {
					m.Fatalf("got %v, want the offset %d", f, want.Offset)
				}
			}
		}
	}},

	{name: "joining_in_the_middle", needs: toRemember, history: channel.History{Keep: 1000, Replay: 500}, script: func(s *stage) {
		const total = 400
		var publisher sync.WaitGroup
		publisher.Go(func() { s.BroadcastMany("room:1", 1, total) })
		for n := range 5 { // wherever each comes in: no gap, no double
			ann := s.Join(fmt.Sprint("client", n), "room:1")
			ann.WantMany(1, total)
			ann.WantNothing()
		}
		publisher.Wait()
	}},

	{name: "history_then_join", needs: toRemember | toBeAnswered, history: channel.History{Keep: 10, Replay: 5}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 5)
		page, at, err := s.live.History(s.Context(), "room:1", 2)
		if err != nil || len(page) != 2 || string(page[0].Payload) != `{"n":4}` || string(page[1].Payload) != `{"n":5}` || page[1].Event != "new" {
			s.Fatalf("History: got %v, %v; want 4 and 5", page, err)
		}
		if at.Offset != page[1].Offset || at.Epoch != s.store.Epoch() {
			s.Errorf("History: got the position %v, want that of 5", at)
		}
		s.BroadcastMany("room:1", 6, 7)
		ann := s.Dial("ann").Join("room:1", obj{"@since": at})
		ann.WantRecovered(2, true)
		ann.WantMany(6, 7)
		ann.WantNothing()
	}},

	{name: "topics_without_history", needs: toForget, script: func(s *stage) {
		if _, _, err := s.live.History(s.Context(), "room:1", 1); err == nil {
			s.Error("History: got no error")
		}
		if s.live.Forget(s.Context(), "room:1") == nil || s.live.Redact(s.Context(), "room:1", 1) == nil {
			s.Error("Forget, Redact: got no error")
		}
	}},
}

var resuming = []behaviour{
	{name: "since", needs: toRemember | toBeAnswered, history: channel.History{Keep: 10, Replay: 3}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 5)
		at := s.PositionOf("room:1", 2)
		ann := s.Dial("ann").Join("room:1", obj{"@since": at})
		ann.WantRecovered(3, true)
		if ann.history.Offset != at.Offset {
			s.Errorf("it begins at %d, want the position %d that it has named", ann.history.Offset, at.Offset)
		}
		ann.WantMany(3, 5)
		s.BroadcastMany("room:1", 6, 6)
		ann.WantMany(6, 6)
		ann.WantNothing()

		bob := s.Dial("bob").Join("room:1", obj{"@since": s.PositionOf("room:1", 6)})
		bob.WantRecovered(0, true)
		s.BroadcastMany("room:1", 7, 7)
		bob.WantMany(7, 7)
		bob.WantNothing()
	}},

	{name: "since_that_is_not_kept", needs: toRemember | toBeAnswered, history: channel.History{Keep: 5, Replay: 3}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 2)
		at := s.PositionOf("room:1", 1)
		s.BroadcastMany("room:1", 3, 10)
		for _, at := range []position{
			at,
			{Epoch: "another", Offset: at.Offset},
			{Epoch: s.store.Epoch(), Offset: s.PositionOf("room:1", 10).Offset + 1}, // not given yet
		} {
			ann := s.Dial("ann").Join("room:1", obj{"@since": at})
			ann.WantRecovered(3, false)
			ann.WantMany(8, 10) // in place of what the client has
			ann.WantNothing()
		}
	}},

	{name: "since_too_long_ago", needs: toRemember | toBeAnswered, history: channel.History{Keep: 1000, Replay: 2}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 600)
		near := s.Dial("ann").Join("room:1", obj{"@since": s.PositionOf("room:1", 100)})
		near.WantRecovered(500, true)
		near.WantMany(101, 600)
		far := s.Dial("bob").Join("room:1", obj{"@since": s.PositionOf("room:1", 99)})
		far.WantRecovered(2, false)
		far.WantMany(599, 600)
	}},

	{name: "since_the_beginning_of_an_empty_topic", needs: toRemember | toBeAnswered, script: func(s *stage) {
		ann := s.Dial("ann").Join("room:1", obj{"@since": position{Epoch: s.store.Epoch()}})
		ann.WantRecovered(0, true)
		s.BroadcastMany("room:1", 1, 1)
		ann.WantMany(1, 1)
	}},

	{name: "cut_and_back", needs: toRemember | toBePlaced, history: channel.History{Keep: 1000, Replay: 500}, script: func(s *stage) {
		const total = 200
		var publisher sync.WaitGroup
		publisher.Go(func() { s.BroadcastMany("room:1", 1, total) })
		at := position{Epoch: s.store.Epoch()}
		for n := 0; n < total; {
			ann := s.Dial("ann").Join("room:1", obj{"@since": at})
			if h := ann.WantHistory(-1); h.Recovered == nil || !*h.Recovered {
				ann.Fatalf("@history: got %v, want recovered", *h)
			}
			for range min(40, total-n) {
				n++
				at.Offset = ann.WantRetained("new", obj{"n": n})
			}
			ann.Cut()
		}
		publisher.Wait()
	}},

	{name: "last_event_id", needs: toRemember | bareOnly, history: channel.History{Keep: 1000, Replay: 500}, script: func(s *stage) {
		const total = 150
		var publishers sync.WaitGroup
		topics := []string{"room:1", "room:2"}
		for _, topic := range topics {
			publishers.Go(func() { s.BroadcastMany(topic, 1, total) })
		}
		got := map[string]int{}
		for id := ""; got["room:1"] < total || got["room:2"] < total; {
			ann := s.Dial("ann")
			ann.Reopen(id, topics...)
			for range 30 { // of whichever topic; then it is cut off
				if got["room:1"] == total && got["room:2"] == total {
					break
				}
				f := ann.box.any(s.T, topics, "a message")
				if f.event == "phx_reply" {
					continue
				}
				got[f.topic]++
				if !same(f.payload, obj{"n": got[f.topic]}) {
					s.Fatalf("after %q: got %v, want %d: no gap, no double", id, f, got[f.topic])
				}
				id = f.id
			}
			ann.Cut()
		}
		publishers.Wait()
	}},

	{name: "event_ids", needs: toRemember | bareOnly, history: channel.History{Keep: 1000, Replay: 1}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 1)
		one, epoch := s.PositionOf("room:1", 1).Offset, s.store.Epoch()
		ann := s.Dial("ann")
		ann.Reopen("", "room:1", "room:2")
		for _, topic := range []string{"room:1", "room:2"} {
			if f := ann.box.next(s.T, topic, "the reply"); !strings.HasPrefix(f.id, epoch+":") {
				s.Errorf("got %v with the id %q, want where the topic begins", f, f.id)
			}
		}
		ann.box.next(s.T, "room:1", "1")
		s.Broadcast("room:1", "cursor", obj{}, channel.Ephemeral())
		if f := ann.box.next(s.T, "room:1", "cursor"); f.id != "" {
			s.Errorf("got %v with the id %q, want none: it moves no position", f, f.id)
		}
		s.BroadcastMany("room:2", 1, 1)
		two := s.PositionOf("room:2", 1).Offset
		if f, want := ann.box.next(s.T, "room:2", "1"), fmt.Sprintf("%s:%d,%d", epoch, one, two); f.id != want {
			s.Errorf("got %v with the id %q, want %q", f, f.id, want)
		}
		s.BroadcastMany("room:1", 2, 2)
		one = s.PositionOf("room:1", 2).Offset
		if f, want := ann.box.next(s.T, "room:1", "2"), fmt.Sprintf("%s:%d,%d", epoch, one, two); f.id != want {
			s.Errorf("got %v with the id %q, want %q", f, f.id, want)
		}
	}},

	{name: "event_id_of_a_join_that_brought_nothing", needs: toRemember | bareOnly, history: channel.History{Keep: 10, Replay: 1}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 3)
		ann := s.Dial("ann")
		ann.Reopen("", "room:1")
		id := ann.box.next(s.T, "room:1", "the reply").id
		ann.Cut()
		s.BroadcastMany("room:1", 4, 5)
		again := s.Dial("ann")
		again.Reopen(id, "room:1")
		m := &member{client: again, topic: "room:1", ref: "1", positions: true}
		m.WantJoined()
		m.WantRecovered(3, true)
		m.WantMany(3, 5) // 3 may not have arrived
		m.WantNothing()
	}},

	{name: "event_id_before_every_join_is_answered", needs: toRemember | bareOnly, script: func(s *stage) {
		release := make(chan struct{})
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			if sock.Topic() == "room:2" {
				<-release
			}
			return channel.Accept(nil), nil
		}
		s.BroadcastMany("room:1", 1, 1)
		s.BroadcastMany("room:2", 1, 1)
		two := s.PositionOf("room:2", 1).Offset
		ann := s.Dial("ann")
		ann.Reopen(fmt.Sprintf("%s:%d,%d", s.store.Epoch(), s.PositionOf("room:1", 1).Offset, two), "room:1", "room:2")
		ann.box.next(s.T, "room:1", "the reply")
		s.BroadcastMany("room:1", 2, 2)
		want := fmt.Sprintf("%s:%d,%d", s.store.Epoch(), s.PositionOf("room:1", 2).Offset, two)
		if f := ann.box.next(s.T, "room:1", "2"); f.id != want {
			s.Errorf("got %v with the id %q, want %q: it has room:2 up to there", f, f.id, want)
		}
		close(release)
		ann.box.next(s.T, "room:2", "the reply")
	}},

	{name: "foreign_event_id", needs: toRemember | bareOnly, history: channel.History{Keep: 10, Replay: 2}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 3)
		for _, id := range []string{"another:1", "7", "😀", s.store.Epoch() + ":x", s.store.Epoch() + ":99999999999999999999"} {
			ann := s.Dial("ann")
			ann.Reopen(id, "room:1")
			m := &member{client: ann, topic: "room:1", ref: "1", positions: true}
			m.WantJoined()
			m.WantRecovered(2, false)
			m.WantMany(2, 3)
			m.WantNothing()
		}
	}},
}
