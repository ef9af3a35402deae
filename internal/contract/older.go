package contract

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

var older = []behaviour{
	{name: "older_messages", needs: toRemember | toSend, history: channel.History{Keep: 2000, Replay: 2}, script: func(s *stage) {
		s.fill("room:1", 2000)
		ann := s.Dial("ann").Join("room:1", nil)
		for range 2 {
			ann.next("what is replayed")
		}
		all, err := s.store.Read(s.Context(), "room:1", store.Range{})
		if err != nil {
			s.Fatal(err)
		}
		want := all.Messages[:1998]
		page := ann.WantOlder(obj{"before": obj{"epoch": all.Epoch, "offset": all.Messages[1998].Offset}, "limit": 9000})
		for n := 1; ; n++ {
			if len(page.Messages) != min(500, len(want)) {
				s.Fatalf("a page has %d messages, want 500, or the %d that are left", len(page.Messages), len(want))
			}
			for i, m := range page.Messages {
				m, want := m, want[len(want)-len(page.Messages)+i]
				if m.Offset != want.Offset || m.Event != want.Event || string(m.Payload) != string(want.Payload) {
					s.Fatalf("got %d %s %s, want %d %s %s", m.Offset, m.Event, m.Payload, want.Offset, want.Event, want.Payload)
				}
			}
			if want = want[:len(want)-len(page.Messages)]; !page.More {
				break
			}
			s.BroadcastMany("room:1", n, n) // which trims the oldest
			ann.WantMany(n, n)
			want = want[1:]
			page = ann.WantOlder(obj{"before": obj{"epoch": all.Epoch, "offset": page.Messages[0].Offset}, "limit": 500})
		}
		if len(want) > 0 || page.Complete {
			s.Errorf("all is read: %d messages are left, complete: %v, want none, and not: some were trimmed", len(want), page.Complete)
		}
		page = ann.WantOlder(obj{"before": obj{"epoch": "another", "offset": 7}})
		if len(page.Messages) > 0 || page.More || page.Complete || page.Epoch != all.Epoch {
			s.Errorf("before a position of another epoch: got %+v, want nothing, and not complete", page)
		}
		ann.WantNothing()
	}},

	{name: "older_messages_are_bytes", needs: toRemember | toSend, script: func(s *stage) {
		s.Broadcast("room:1", "picture", channel.Binary{1, 2, 3})
		ann := s.Join("ann", "room:1")
		page := ann.WantOlder(obj{})
		if len(page.Messages) != 1 || string(page.Messages[0].Payload) != `{"@binary":"AQID"}` || page.More || !page.Complete {
			s.Errorf("got %+v, want the picture, and that this is all", page)
		}
	}},

	{name: "older_messages_that_are_gone", needs: toRemember | toSend, script: func(s *stage) {
		s.BroadcastMany("room:1", 1, 3)
		ann := s.Join("ann", "room:1")
		at := s.PositionOf("room:1", 2)
		if err := s.live.Redact(s.Context(), "room:1", at.Offset); err != nil {
			s.Fatal(err)
		}
		ann.WantRetained("message_redacted", obj{"offset": at.Offset})
		if page := ann.WantOlder(obj{}); len(page.Messages) != 3 || !page.Complete {
			s.Errorf("got %+v, want 1, 3 and what says that 2 is redacted: that is not missed", page)
		}
		if err := s.live.Forget(s.Context(), "room:1"); err != nil {
			s.Fatal(err)
		}
		ann.WantRetained("history_forgotten", obj{})
		if page := ann.WantOlder(obj{"before": at}); len(page.Messages) > 0 || page.More || page.Complete {
			s.Errorf("got %+v, want nothing, and not complete: it was forgotten", page)
		}
	}},

	{name: "malformed_requests_for_older_messages", needs: toRemember | toSend, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		for _, request := range []any{
			7, "before", []int{}, obj{"limit": 0}, obj{"limit": -1}, obj{"limit": 1.5}, obj{"limit": "5"}, obj{"before": 7},
			obj{"before": obj{"offset": 7}}, obj{"before": obj{"epoch": "e", "offset": 0}}, obj{"before": obj{"epoch": "e", "offset": -7}},
			obj{"before": obj{"epoch": "e", "offset": "7"}}, obj{"before": obj{"epoch": "e", "offset": 7.5}},
		} {
			if response := ann.wantStatus(ann.Push("@history", request), "error"); response["reason"] == "internal" {
				s.Errorf("%v: got %v, want the reason that it is malformed", request, response)
			}
		}
		ann.WantOlder(obj{"limit": 1 << 40})
		ann.WantOlder(obj{"before": json.RawMessage(fmt.Sprintf(`{"epoch":%q,"offset":9223372036854775808}`, s.store.Epoch()))})
	}},

	{name: "no_older_messages_without_history", needs: toForget | toSend, script: func(s *stage) {
		ann := s.Join("ann", "room:1")
		ann.WantError(ann.Push("@history", obj{}), "no history")
	}},
}

// olderPage is a page as a client reads it.
type olderPage struct {
	Epoch          string
	Complete, More bool
	Messages       []struct {
		Offset    uint64
		At, Event string
		Payload   json.RawMessage
	}
}

// WantOlder asks for older messages, and wants a page.
func (m *member) WantOlder(request obj) (page olderPage) {
	m.Helper()
	text, err := json.Marshal(m.wantStatus(m.Push("@history", request), "ok"))
	if err == nil {
		err = json.Unmarshal(text, &page)
	}
	if err != nil {
		m.Fatalf("older messages: %v", err)
	}
	return page
}

// fill keeps many messages of a topic, with few commits.
func (s *stage) fill(topic string, n int) {
	s.Helper()
	const writers = 100
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range n / writers {
				s.Broadcast(topic, "new", obj{"n": w*n + i})
			}
		})
	}
	wg.Wait()
}
