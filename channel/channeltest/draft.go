package channeltest

import (
	"encoding/json"
	"strings"

	"github.com/go-chime/chime/internal/wire"
)

// shownDraft is a draft as a client shows it.
type shownDraft struct {
	Draft, Event, Text string
}

// WantDraft waits until the member has been shown a draft of an event with just that
// text, and returns its ID. In which pieces it comes is a matter of time.
func (m *Member) WantDraft(event, text string) (id string) {
	m.p.client.t.Helper()
	for {
		for _, d := range m.drafts {
			if d.Event == event && d.Text == text {
				return d.Draft
			}
		}
		m.apply(m.take("draft "+event+" "+text, isDraft))
	}
}

// apply does with what shows drafts what a client does.
func (m *Member) apply(f wire.Frame) {
	m.p.client.t.Helper()
	var p struct {
		shownDraft
		Drafts []shownDraft
	}
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		m.p.client.t.Fatalf("%s: %v", f.Event, err)
	}
	switch f.Event {
	case wire.EventDraftState:
		m.drafts = map[string]shownDraft{}
		for _, d := range p.Drafts {
			m.drafts[d.Draft] = d
		}
	case wire.EventDraftStart:
		if m.drafts == nil {
			m.drafts = map[string]shownDraft{}
		}
		m.drafts[p.Draft] = p.shownDraft
	case wire.EventDraftDelta:
		if d, known := m.drafts[p.Draft]; known {
			d.Text += p.Text
			m.drafts[p.Draft] = d
		}
	}
}

// isDraft reports whether f shows a draft that grows.
func isDraft(f wire.Frame) bool {
	return strings.HasPrefix(f.Event, "draft_") && f.Event != wire.EventDraftEnd
}
