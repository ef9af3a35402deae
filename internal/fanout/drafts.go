package fanout

import (
	"slices"

	"github.com/go-chime/chime/internal/wire"
)

// drafts are those of a topic. It has no lock: it is guarded by its topic's.
//
// A live member has been shown what each draft is, and is sent what is added. One that is
// not live is sent nothing of them, and their state when it becomes live: no list of
// deltas waits for it, of which the oldest might be dropped.
type drafts struct {
	list  []*Draft
	state *wire.Message // that of now; nil: not encoded yet
}

// now returns the state of all drafts. A crowd that joins at once shares it. It is nil if
// there is no draft, unless the member has been shown one that is over by now.
func (ds *drafts) now(topic string, shown bool) *wire.Message {
	if len(ds.list) == 0 && !shown {
		return nil
	}
	if ds.state == nil {
		b := []byte(`{"drafts":[`)
		for i, d := range ds.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = d.appendEntry(b)
		}
		ds.state = wire.NewPush(topic, wire.EventDraftState, append(b, `]}`...), 0)
	}
	return ds.state
}

// remove takes d out.
func (ds *drafts) remove(d *Draft) {
	ds.list = slices.DeleteFunc(ds.list, func(other *Draft) bool { return other == d })
	ds.state = nil
}

// BeginDraft shows d to the members. EndDraft must be called for it before the topic is closed.
func (t *Topic) BeginDraft(d *Draft) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(d)
}

// begin shows d. t.mu is held.
func (t *Topic) begin(d *Draft) {
	t.drafts.list = append(t.drafts.list, d)
	t.drafts.state = nil
	t.members.show(wire.NewPush(t.name, wire.EventDraftStart, d.appendEntry(nil), 0))
}

// GrowDraft shows the members what was appended to d. As with Published no client can delay
// it. One call for d at a time.
func (t *Topic) GrowDraft(d *Draft) {
	t.mu.Lock()
	more := d.more()
	if len(more) == 0 { // it may have ended meanwhile
		t.mu.Unlock()
		return
	}
	round := t.grow(d, more)
	t.mu.Unlock()
	pause(round)
}

// grow adds to the text of d, shows that, and returns the round to wait for. t.mu is held.
func (t *Topic) grow(d *Draft, more []byte) <-chan struct{} {
	d.text = append(d.text, more...)
	d.number++
	t.drafts.state = nil
	m := d.delta(t.name, more)
	t.members.show(m)
	return t.lead.step(m.Size())
}

// EndDraft takes d out, to which nothing is appended any more, and returns its whole text. Who
// joins from now on is shown nothing of it. With a reason the members are told that it is
// over; without one a message follows that replaces it. A second call with a reason tells
// those who wait for that message that there will be none.
func (t *Topic) EndDraft(d *Draft, reason string) (text []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.text = append(d.text, d.more()...)
	t.end(d, reason)
	return d.text
}

// end takes d out, and tells of it if there is a reason. t.mu is held.
func (t *Topic) end(d *Draft, reason string) {
	t.drafts.remove(d)
	var end *wire.Message
	if reason != "" {
		end = d.end(t.name, reason)
	}
	t.members.endDraft(end, len(t.drafts.list) == 0)
}
