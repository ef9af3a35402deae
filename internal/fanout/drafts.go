package fanout

import (
	"slices"

	"github.com/go-chime/chime/internal/wire"
)

// drafts are those of a topic, and show its members what becomes of them. They have no lock: they
// are guarded by their topic's.
//
// A live member has been shown what each draft is, and is sent what is added. One that is
// not live is sent nothing of them, and their state when it becomes live: no list of
// deltas waits for it, of which the oldest might be dropped.
type drafts struct {
	topic   string
	members *roster
	list    []*Draft
	state   *wire.Message // that of now; nil: not encoded yet
}

// now returns the state of all drafts. A crowd that joins at once shares it. It is nil if
// there is no draft, unless the member has been shown one that is over by now.
func (ds *drafts) now(shown bool) *wire.Message {
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
		ds.state = wire.NewPush(ds.topic, wire.EventDraftState, append(b, `]}`...), 0)
	}
	return ds.state
}

// begin shows d.
func (ds *drafts) begin(d *Draft) {
	ds.list = append(ds.list, d)
	ds.state = nil
	ds.members.show(wire.NewPush(ds.topic, wire.EventDraftStart, d.appendEntry(nil), 0))
}

// grow adds to the text of d, and returns the message that shows it.
func (ds *drafts) grow(d *Draft, more []byte) *wire.Message {
	d.text = append(d.text, more...)
	d.number++
	ds.state = nil
	m := d.delta(ds.topic, more)
	ds.members.show(m)
	return m
}

// end takes d out, and tells of it if there is a reason.
func (ds *drafts) end(d *Draft, reason string) {
	ds.remove(d)
	var end *wire.Message
	if reason != "" {
		end = d.end(ds.topic, reason)
	}
	ds.members.endDraft(end, len(ds.list) == 0)
}

// replace takes d out, and tells the members that have had everything up to an offset that it
// is over: at that its message is, which the others are sent.
func (ds *drafts) replace(d *Draft, had uint64) {
	ds.remove(d)
	ds.members.endCopy(d.end(ds.topic, replaced), had, len(ds.list) == 0)
}

// remove takes d out.
func (ds *drafts) remove(d *Draft) {
	ds.list = slices.DeleteFunc(ds.list, func(other *Draft) bool { return other == d })
	ds.state = nil
}
