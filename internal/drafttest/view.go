// Package drafttest is a client that watches drafts, for tests. It makes of what it is sent what
// docs/protocol.md says, and tells what makes no sense.
package drafttest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-chime/chime/internal/wire"
)

// Final is the event of the messages that the drafts become which a View follows.
const Final = "final"

// View is what a client shows of the drafts of a topic, from the reply to its join on. The zero
// value shows none.
type View struct {
	// Written is what was appended to a draft up to now; nil: nobody knows.
	Written func(id string) string

	drafts map[string]draft
	finals map[string]bool // of those whose message it was sent
}

// draft is one as it is shown, and as the payloads of all events of drafts have it.
type draft struct {
	Draft, Text string
	N           int
}

// Texts returns the text of each draft that is shown.
func (v *View) Texts() map[string]string {
	texts := map[string]string{}
	for id, d := range v.drafts {
		texts[id] = d.Text
	}
	return texts
}

// Take takes what the client is sent in the topic. An error says what it can't have been sent, by
// what came before: a delta that was lost or doubled, a draft that it does not know, or one whose
// message it has, a text that was not written.
func (v *View) Take(event string, payload []byte) error {
	var p struct {
		draft
		Drafts []draft
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return fmt.Errorf("%s %s: %w", event, payload, err)
	}
	has, known := v.drafts[p.Draft]
	switch event {
	case wire.EventDraftState:
		clear(v.drafts)
		for _, d := range p.Drafts {
			if err := v.show(d); err != nil {
				return err
			}
		}
	case wire.EventDraftStart:
		if known {
			return fmt.Errorf("draft %s begins twice", p.Draft)
		}
		return v.show(p.draft)
	case wire.EventDraftDelta:
		if !known || p.N != has.N+1 {
			return fmt.Errorf("delta %d of draft %s, which is known: %t, with %d", p.N, p.Draft, known, has.N)
		}
		return v.show(draft{p.Draft, has.Text + p.Text, p.N})
	case wire.EventDraftEnd:
		delete(v.drafts, p.Draft)
	case Final:
		return v.replace(p.draft)
	}
	return nil
}

// show shows what there is of a draft.
func (v *View) show(d draft) error {
	if v.finals[d.Draft] {
		return fmt.Errorf("draft %s is shown after its message", d.Draft)
	}
	if v.Written != nil && !strings.HasPrefix(v.Written(d.Draft), d.Text) {
		return fmt.Errorf("draft %s is %q, want the beginning of %q", d.Draft, d.Text, v.Written(d.Draft))
	}
	if v.drafts == nil {
		v.drafts = map[string]draft{}
	}
	v.drafts[d.Draft] = d
	return nil
}

// replace has a message replace its draft.
func (v *View) replace(m draft) error {
	if v.finals[m.Draft] {
		return fmt.Errorf("the message of draft %s comes twice", m.Draft)
	}
	if v.Written != nil && m.Text != v.Written(m.Draft) {
		return fmt.Errorf("the message of draft %s is %q, want %q", m.Draft, m.Text, v.Written(m.Draft))
	}
	if d := v.drafts[m.Draft]; !strings.HasPrefix(m.Text, d.Text) {
		return fmt.Errorf("the message of draft %s is %q, and %q was shown", m.Draft, m.Text, d.Text)
	}
	delete(v.drafts, m.Draft)
	if v.finals == nil {
		v.finals = map[string]bool{}
	}
	v.finals[m.Draft] = true
	return nil
}
