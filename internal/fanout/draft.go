package fanout

import (
	"strconv"
	"sync"

	"github.com/go-chime/chime/internal/wire"
)

// Draft is a message that grows: what the members of a topic are shown of it before it is
// published. Its owner appends text, as JSON has it between the quotes of a string, and
// has the topic show it.
type Draft struct {
	id   string
	head []byte // of its entry in a state, up to the number

	// Guarded by the topic's lock.
	text   []byte // what members were shown
	number int    // of the last delta

	mu   sync.Mutex // guards more; taken with the topic's lock held
	more []byte     // what they were not shown yet
}

// NewDraft returns a draft without text. Payload is a JSON object.
func NewDraft(id, event string, payload []byte) *Draft {
	head := wire.AppendString([]byte(`{"draft":`), id)
	head = wire.AppendString(append(head, `,"event":`...), event)
	head = append(append(head, `,"payload":`...), payload...)
	return &Draft{id: id, head: append(head, `,"n":`...)}
}

// Append adds to what Topic.GrowDraft shows next. The topic's lock may be held.
func (d *Draft) Append(text []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.more = append(d.more, text...)
}

// Waits reports whether there is something to show.
func (d *Draft) Waits() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.more) > 0
}

// grow moves what was appended to the text, and returns it. The topic's lock is held.
func (d *Draft) grow() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	more := d.more
	d.more = nil
	d.text = append(d.text, more...)
	return more
}

// appendEntry appends d as it is.
func (d *Draft) appendEntry(b []byte) []byte {
	b = strconv.AppendInt(append(b, d.head...), int64(d.number), 10)
	b = append(append(b, `,"text":"`...), d.text...)
	return append(b, `"}`...)
}

// delta is what was added.
func (d *Draft) delta(topic string, more []byte) *wire.Message {
	b := wire.AppendString([]byte(`{"draft":`), d.id)
	b = strconv.AppendInt(append(b, `,"n":`...), int64(d.number), 10)
	b = append(append(b, `,"text":"`...), more...)
	return wire.NewPush(topic, wire.EventDraftDelta, append(b, `"}`...), 0)
}
