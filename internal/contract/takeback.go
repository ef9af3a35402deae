package contract

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

var takingBack = []behaviour{
	{name: "forget", needs: toRemember | toBeAnswered | inStep, history: channel.History{Keep: 10, Replay: 10}, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 5)
		_, before, err := s.live.History(s.Context(), "room:1", 1)
		if err != nil {
			s.Fatalf("History: %v", err)
		}
		bystander := s.Join("bob", "room:1")
		bystander.WantMany(1, 5)
		s.BroadcastMany("room:1", 6, 6)
		if err := s.live.Forget(s.Context(), "room:1"); err != nil {
			s.Fatalf("Forget: %v", err)
		}
		s.BroadcastMany("room:1", 7, 7)
		bystander.WantMany(6, 6)
		bystander.WantRetained("history_forgotten", obj{})
		bystander.WantMany(7, 7)
		ann := s.Dial("ann").Join("room:1", obj{"@since": before})
		ann.WantRecovered(2, false) // 6 is gone
		ann.WantRetained("history_forgotten", obj{})
		ann.WantMany(7, 7)
		ann.WantNothing()
	}},

	{name: "redact", needs: toRemember | toBeAnswered | inStep, history: channel.History{Keep: 10, Replay: 10}, script: func(s *stage) {
		start := position{Epoch: s.store.Epoch()}
		bystander := s.Join("bob", "room:1")
		s.BroadcastMany("room:1", 1, 3)
		page, _, err := s.live.History(s.Context(), "room:1", 3)
		if err != nil || len(page) != 3 {
			s.Fatalf("History: got %v, %v; want 3 messages", page, err)
		}
		if err := s.live.Redact(s.Context(), "room:1", page[1].Offset); err != nil {
			s.Fatalf("Redact: %v", err)
		}
		if err := s.live.Redact(s.Context(), "room:1", page[1].Offset); err == nil {
			s.Error("Redact of what is not there: got no error")
		}
		bystander.WantMany(1, 3)
		redacted := obj{"offset": page[1].Offset}
		bystander.WantRetained("message_redacted", redacted)
		bystander.WantNothing()
		ann := s.Dial("ann").Join("room:1", obj{"@since": start})
		ann.WantRecovered(3, true) // nothing is missing that should be there
		carl := s.Join("carl", "room:1")
		for _, m := range []*member{ann, carl} {
			m.WantMany(1, 1)
			m.WantMany(3, 3)
			m.WantRetained("message_redacted", redacted)
			m.WantNothing()
		}
	}},

	{name: "redacted_while_away", needs: toRemember | toBeAnswered, history: channel.History{Keep: 3, Redacted: "deleted"}, script: func(s *stage) {
		ann := s.Dial("ann")
		in := ann.Join("room:1", obj{"@last": 0})
		epoch := in.WantHistory(0).Epoch
		s.BroadcastMany("room:1", 1, 3)
		in.WantMany(1, 3)
		ann.Close()
		at := s.PositionOf("room:1", 3)
		first := s.PositionOf("room:1", 1)
		if err := s.live.Redact(s.Context(), "room:1", first.Offset); err != nil {
			s.Fatalf("Redact: %v", err)
		}
		in = s.Dial("ann").Join("room:1", obj{"@since": position{Epoch: epoch, Offset: at.Offset}})
		in.WantRecovered(1, true)
		in.WantRetained("deleted", obj{"offset": first.Offset})
		s.BroadcastMany("room:1", 4, 6) // more than it keeps: what says so goes, as any message
		in.WantMany(4, 6)
		in.WantNothing()
		if err := s.live.Redact(s.Context(), "room:1", at.Offset); !errors.Is(err, store.ErrNotFound) {
			s.Errorf("Redact of what is no longer kept: got %v, want %v", err, store.ErrNotFound)
		}
		in.WantNothing()
	}},

	{name: "forgotten_while_away", needs: toRemember | toBeAnswered, history: channel.History{Keep: 10, Replay: 10, Forgotten: "emptied"}, script: func(s *stage) {
		ann := s.Dial("ann")
		in := ann.Join("room:1", obj{"@last": 0})
		s.BroadcastMany("room:1", 1, 3)
		in.WantMany(1, 3)
		ann.Close()
		positions := []position{s.PositionOf("room:1", 2), s.PositionOf("room:1", 3)}
		for range 2 { // the second takes back what said so
			if err := s.live.Forget(s.Context(), "room:1"); err != nil {
				s.Fatalf("Forget: %v", err)
			}
		}
		for _, at := range append(positions, position{}) { // none has the place before the last
			in = s.Dial("ann").Join("room:1", obj{"@since": at})
			in.WantRecovered(1, false)
			in.WantRetained("emptied", obj{})
			in.WantNothing()
		}
		at := in.WantHistory(1)
		last := s.Dial("ann").Join("room:1", obj{"@since": position{Epoch: at.Epoch, Offset: at.Offset}})
		last.WantRecovered(1, true)
		last.WantRetained("emptied", obj{})
	}},

	{name: "redactions_race", needs: toRemember | inStep, history: channel.History{Keep: 10}, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		s.BroadcastMany("room:1", 1, 1)
		ann.WantMany(1, 1)
		offset := s.PositionOf("room:1", 1).Offset
		var racing sync.WaitGroup
		var done atomic.Int32
		for range 4 {
			racing.Go(func() {
				switch err := s.live.Redact(s.Context(), "room:1", offset); {
				case err == nil:
					done.Add(1)
				case !errors.Is(err, store.ErrNotFound):
					s.Errorf("Redact: %v", err)
				}
			})
		}
		racing.Wait()
		if n := done.Load(); n != 1 {
			s.Errorf("got %d redactions of one message, want 1", n)
		}
		ann.WantRetained("message_redacted", obj{"offset": offset})
		ann.WantNothing()
		for _, bad := range []uint64{0, offset + 100, store.All} {
			if err := s.live.Redact(s.Context(), "room:1", bad); !errors.Is(err, store.ErrNotFound) {
				s.Errorf("Redact of %d: got %v, want %v", bad, err, store.ErrNotFound)
			}
		}
		ann.WantNothing()
	}},
}
