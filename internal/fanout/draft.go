package fanout

import (
	"strconv"
	"sync"

	"github.com/go-chime/chime/internal/wire"
)

// Draft is a message that grows: what the members of a topic are shown of it before it is
// published. Its owner appends text, as JSON has it between the quotes of a string, and
// has the topic show it. On other nodes a copy of it is grown by what that one tells.
type Draft struct {
	id, event string
	head      []byte // of its entry in a state, up to the number
	payload   []byte // in it

	// Guarded by the topic's lock.
	text   []byte // what members were shown
	number int    // of the last delta

	mu    sync.Mutex // guards waits; taken with the topic's lock held
	waits []byte     // what they were not shown yet
}

// NewDraft returns a draft without text. Payload is a JSON object.
func NewDraft(id, event string, payload []byte) *Draft {
	head := wire.AppendString([]byte(`{"draft":`), id)
	head = wire.AppendString(append(head, `,"event":`...), event)
	head = append(append(head, `,"payload":`...), payload...)
	end := len(head)
	head = append(head, `,"n":`...)
	return &Draft{id: id, event: event, head: head, payload: head[end-len(payload) : end : end]}
}

// Append adds to what Topic.GrowDraft shows next. The topic's lock may be held.
func (d *Draft) Append(text []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waits = append(d.waits, text...)
}

// Waits reports whether there is something to show.
func (d *Draft) Waits() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waits) > 0
}

// more takes what was appended.
func (d *Draft) more() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	more := d.waits
	d.waits = nil
	return more
}

// appendEntry appends d as it is.
func (d *Draft) appendEntry(b []byte) []byte {
	b = strconv.AppendInt(append(b, d.head...), int64(d.number), 10)
	b = append(append(b, `,"text":"`...), d.text...)
	return append(b, `"}`...)
}

// delta tells what was added.
func (d *Draft) delta(topic string, more []byte) *wire.Message {
	b := wire.AppendString([]byte(`{"draft":`), d.id)
	b = strconv.AppendInt(append(b, `,"n":`...), int64(d.number), 10)
	b = append(append(b, `,"text":"`...), more...)
	return wire.NewPush(topic, wire.EventDraftDelta, append(b, `"}`...), 0)
}

// end tells that there will be no message.
func (d *Draft) end(topic, reason string) *wire.Message {
	b := wire.AppendString([]byte(`{"draft":`), d.id)
	b = wire.AppendString(append(b, `,"reason":`...), reason)
	return wire.NewPush(topic, wire.EventDraftEnd, append(b, '}'), 0)
}
