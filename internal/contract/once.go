package contract

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

const (
	reused = "key is that of another message"
	badKey = "malformed @key: want 1 to 255 bytes of text without control characters"
)

var publishing = []behaviour{
	{name: "broadcast_once", needs: toRemember, history: channel.History{Keep: 10, Replay: 10}, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		var first, again store.Position
		s.Broadcast("room:1", "new", obj{"n": 1}, channel.Once("a key"), channel.PositionTo(&first))
		for range 3 {
			s.Broadcast("room:1", "new", obj{"n": 1}, channel.Once("a key"), channel.PositionTo(&again))
			if again != first || first.Offset == 0 {
				s.Errorf("position: got %v, want the first, %v", again, first)
			}
		}
		for event, payload := range map[string]obj{"new": {"n": 2}, "old": {"n": 1}} {
			err := s.live.Broadcast(s.Context(), "room:1", event, payload, channel.Once("a key"))
			if public := (*channel.Error)(nil); !errors.Is(err, store.ErrKeyReused) || !errors.As(err, &public) || public.Reason != reused {
				s.Errorf("Broadcast of %s %v with the key of another: got %v, want %v", event, payload, err, store.ErrKeyReused)
			}
		}
		s.Broadcast("room:1", "new", obj{"n": 2}, channel.Once("")) // none
		s.Broadcast("room:1", "new", obj{"n": 3}, channel.Once(""))
		ann.WantMany(1, 3)
		ann.WantNothing()
		bob := s.Join("bob", "room:1")
		bob.WantMany(1, 3)
		bob.WantNothing()
		for _, key := range []string{strings.Repeat("k", 10_000), "a\nb", "\xff"} {
			if err := s.live.Broadcast(s.Context(), "room:1", "new", obj{}, channel.Once(key)); err == nil {
				s.Errorf("Broadcast with the key %.10q: got no error", key)
			}
		}
		bob.WantNothing()
	}},

	{name: "key_where_nothing_is_retained", script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		options := []channel.SendOption{channel.Once("a key"), channel.Ephemeral()}
		if s.store == nil {
			options = options[:1]
		}
		err := s.live.Broadcast(s.Context(), "room:1", "new", obj{}, options...)
		if public := (*channel.Error)(nil); !errors.As(err, &public) || !strings.Contains(public.Reason, "retain") {
			s.Errorf("Broadcast: got %v, want an error that says that nothing is retained", err)
		}
		ann.WantNothing()
		if !s.transport.sends {
			return
		}
		if s.store == nil {
			ann.WantError(ann.Push("say", obj{"@key": "k"}), "key in a topic that retains nothing: want none")
			ref := ann.Push("say", obj{})
			ann.WantBroadcast("say", obj{})
			ann.WantReply(ref, obj{})
			return
		}
		s.On("whisper", func(ctx context.Context, sock *channel.Socket, m channel.Message) (any, error) {
			return nil, sock.Rebroadcast(ctx, m, channel.Ephemeral())
		})
		ann.WantError(ann.Push("whisper", obj{"@key": "k"}), "key of an event that is not retained: want none")
		ann.WantNothing()
	}},

	{name: "pushed_once", needs: toRemember | toSend | inStep, script: func(s *stage) {
		ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")
		said := obj{"@key": "k1", "text": "hi", "deeper": obj{"@key": "stays"}}
		seen := obj{"text": "hi", "deeper": obj{"@key": "stays"}}
		ref := ann.Push("say", said)
		offset := ann.WantRetained("say", seen)
		ann.WantReply(ref, obj{})
		for range 3 {
			ann.WantReply(ann.Push("say", said), obj{})
		}
		ann.WantError(ann.Push("say", obj{"@key": "k1", "text": "else"}), reused)
		if got := bob.WantRetained("say", seen); got != offset {
			s.Errorf("offset: got %d and %d, want the same", offset, got)
		}
		bob.WantNothing()

		// Bob's key is another one, whatever he calls it.
		ref = bob.Push("say", obj{"@key": "k1", "text": "bob's"})
		bob.WantRetained("say", obj{"text": "bob's"})
		bob.WantReply(ref, obj{})
		ann.WantRetained("say", obj{"text": "bob's"})
		ann.WantNothing()
	}},

	{name: "key_of_a_handler", needs: toRemember | toSend | inStep, script: func(s *stage) {
		n := 0
		s.On("order", func(ctx context.Context, sock *channel.Socket, m channel.Message) (any, error) {
			var at store.Position
			n++
			err := sock.Broadcast(ctx, "ordered", obj{"number": n}, m.Once(), channel.PositionTo(&at))
			return obj{"first": at.Offset == 1}, err
		})
		ann := s.Join("ann", "room:1")
		ref := ann.Push("order", obj{"@key": "k", "a": 1, "b": 2})
		ann.WantRetained("ordered", obj{"number": 1})
		ann.WantReply(ref, obj{"first": true})
		ann.WantReply(ann.Push("order", obj{"b": 2, "a": 1, "@key": "k"}), obj{"first": true}) // made anew
		ann.WantError(ann.Push("order", obj{"@key": "k", "a": 1}), reused)
		ref = ann.Push("order", obj{}) // without one
		ann.WantRetained("ordered", obj{"number": 4})
		ann.WantReply(ref, obj{"first": false})
		ann.WantNothing()
	}},

	{name: "key_of_a_client_that_was_lost", needs: toRemember | toSend | inStep, script: func(s *stage) {
		bob := s.Join("bob", "room:1")
		for n := range 3 {
			ann := s.Dial("ann")
			in := ann.Join("room:1", nil)
			ref := in.Push("say", obj{"@key": "k", "text": "hi"})
			if n == 0 {
				in.WantRetained("say", obj{"text": "hi"})
			}
			in.WantReply(ref, obj{})
			ann.Close()
		}
		bob.WantRetained("say", obj{"text": "hi"})
		bob.WantNothing()
	}},

	{name: "malformed_keys", needs: toSend, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		for _, key := range []any{"", 7, nil, obj{}, []int{1}, "a\u0000b", "a\nb", strings.Repeat("k", 256), strings.Repeat("k", 10_000)} {
			ann.WantError(ann.Push("say", obj{"@key": key}), badKey)
		}
		ann.WantNothing()
		for _, payload := range []obj{{"a": `"@key"`}, {"a": obj{"@key": 7}}} { // which has none of its own
			ann.WantReply(ann.Push("echo", payload), payload)
		}
		ann.WantError(ann.Push("say", []string{"@key"}), "payload is not an object")
	}},

	{name: "racing_with_one_key", needs: toRemember | toSend, script: func(s *stage) {
		const n = 5
		bob := s.Join("bob", "room:1")
		var members []*member
		for range n {
			members = append(members, s.Join("ann", "room:1"))
		}
		for _, m := range members {
			m.Tell("say", obj{"@key": "k", "text": "hi"})
		}
		for _, m := range append(members, bob) {
			m.WantRetained("say", obj{"text": "hi"})
			m.WantNothing()
		}
		if kept, _, err := s.live.History(s.Context(), "room:1", 10); err != nil || len(kept) != 1 {
			s.Errorf("History: got %s, %v, want one message", fmt.Sprint(kept), err)
		}
	}},
}
