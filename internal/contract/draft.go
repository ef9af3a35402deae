package contract

import (
	"context"
	"encoding/json"
	"strings"
	"testing/synctest"

	"github.com/go-chime/chime/channel"
)

// drafting is of messages that grow. Clients of all dialects are shown the same of them.
var drafting = []behaviour{
	{name: "draft_grows", timed: true, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		d := s.Draft("room:1")
		d.append("so ")
		ann.WantDraft("so ")
		bob := s.Join("bob", "room:1")
		bob.WantDraft("so ")
		d.append("far, \"so\"\n")
		d.append("good")
		for _, m := range []*member{ann, bob} {
			m.WantDraft("so far, \"so\"\ngood")
		}
		d.ends(nil)
		for _, m := range []*member{ann, bob} {
			m.WantBroadcast("answer", obj{"draft": d.id, "by": "oracle", "text": "so far, \"so\"\ngood"})
			m.WantNothing()
		}
	}},

	{name: "draft_is_one_message_of_the_history", timed: true, needs: toRemember, history: channel.History{Keep: 10, Replay: 3}, script: func(s *stage) {
		d := s.Draft("room:1") // nobody is there
		for range 100 {
			d.append("more ")
		}
		d.ends(nil)
		synctest.Wait()
		messages, _, err := s.live.History(s.Context(), "room:1", 10)
		var kept obj
		if err != nil || len(messages) != 1 || json.Unmarshal(messages[0].Payload, &kept) != nil {
			s.Fatalf("History: got %d messages, %v, want 1", len(messages), err)
		}
		ann := s.Join("ann", "room:1")
		ann.WantRetained("answer", kept)
		ann.WantNothing()
		if text, _ := kept["text"].(string); len(text) != 500 || kept["draft"] != d.id {
			s.Errorf("got the message %v, want all that was appended", kept)
		}
	}},

	{name: "draft_is_discarded", timed: true, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		d := s.Draft("room:1")
		d.append("so far")
		ann.WantDraft("so far")
		d.ends(channel.Refuse("unseemly"))
		ann.WantBroadcast("draft_end", obj{"draft": d.id, "reason": "unseemly"})
		bob := s.Join("bob", "room:1")
		s.Broadcast("room:1", "news", obj{}, channel.Ephemeral())
		for _, m := range []*member{ann, bob} {
			m.WantBroadcast("news", obj{})
			m.WantNothing()
		}
	}},

	{name: "draft_is_stopped_by_another_client", timed: true, needs: toSend, script: func(s *stage) {
		s.On("stop", func(ctx context.Context, sock *channel.Socket, m channel.Message) (any, error) {
			var id string
			if err := m.Decode(&id); err != nil {
				return nil, err
			}
			err := sock.StopDraft(ctx, id)
			if (err == nil) != (id != "another") {
				s.Errorf("StopDraft of %s: %v", id, err)
			}
			return nil, err
		})
		c := s.Dial("ann")
		asks := c.Join("room:1", nil)
		d := s.Draft("room:1")
		d.append("so far")
		asks.WantDraft("so far")
		c.Close() // the page that asked has gone
		s.WantLeave("room:1", channel.Closed)
		bob := s.Join("bob", "room:1")
		bob.WantDraft("so far")
		bob.WantError(bob.Push("stop", "another"), "no such draft")
		bob.Tell("stop", d.id) // a reply could come before the message, or behind it
		bob.WantBroadcast("answer", obj{"draft": d.id, "by": "oracle", "text": "so far"})
		bob.WantNothing()
	}},

	{name: "draft_grows_while_away", timed: true, needs: toResume, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		d := s.Draft("room:1")
		d.append("so ")
		ann.WantDraft("so ")
		ann.Lose()
		for range 20 {
			d.append("very ")
			synctest.Wait()
		}
		ann.Return()
		d.append("good")
		want := "so " + strings.Repeat("very ", 20) + "good"
		ann.WantDraft(want)
		d.ends(nil)
		ann.WantBroadcast("answer", obj{"draft": d.id, "by": "oracle", "text": want})
		ann.WantNothing()
	}},
}

// draft is a message that a script has grow.
type draft struct {
	id    string
	texts chan string
	end   chan error
}

// Draft begins a draft of an answer.
func (s *stage) Draft(topic string) *draft {
	s.Helper()
	d := &draft{texts: make(chan string), end: make(chan error, 1)}
	var err error
	d.id, err = s.live.Draft(s.Context(), topic, "answer", obj{"by": "oracle"}, func(ctx context.Context, out *channel.Draft) error {
		for {
			select {
			case text := <-d.texts:
				if err := out.Append(text); err != nil {
					return err
				}
			case err := <-d.end:
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	if err != nil {
		s.Fatalf("Draft: %v", err)
	}
	return d
}

func (d *draft) append(text string) { d.texts <- text }
func (d *draft) ends(err error)     { d.end <- err }

// WantDraft takes what shows a draft until its text is this one.
func (m *member) WantDraft(text string) {
	m.Helper()
	for m.drafted != text {
		f := m.next("the draft " + text)
		p, _ := f.payload.(obj)
		if all, ok := p["drafts"].([]any); ok && f.event == "draft_state" && len(all) == 1 {
			p, _ = all[0].(obj)
			m.drafted = ""
		} else if f.event != "draft_start" && f.event != "draft_delta" {
			m.Fatalf("got %v, want the draft %q, of which there is %q", f, text, m.drafted)
		}
		more, ok := p["text"].(string)
		n, _ := p["n"].(float64)
		if !ok || f.event == "draft_delta" && n != m.deltas+1 {
			m.Fatalf("got %v after delta %v", f, m.deltas)
		}
		m.drafted += more
		m.deltas = n
	}
}
