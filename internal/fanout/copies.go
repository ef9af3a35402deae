package fanout

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

const (
	// DraftBeat is how often the owner of a draft tells of it at least.
	DraftBeat = time.Second
	// silentAfter is how long nothing is told of a draft before it is taken to be lost.
	silentAfter = 15 * time.Second
	// missAgain is how long a node waits before it says again that it misses something.
	missAgain = 500 * time.Millisecond
	// maxCopies is how many drafts of other nodes a topic has.
	maxCopies = 64
	// perCopy is what one counts besides its event, its payload and its text.
	perCopy = 4 << 10
)

// Reasons that members read of a draft that another node writes.
const (
	unheard  = "lost" // its owner is not heard of, or there is no room for it
	replaced = "over" // it is a message, which this member was sent or begins behind
)

// Copies bounds what the copies of drafts that other nodes write may take, in all topics.
type Copies struct {
	Text  int   // bytes of the text of one
	Bytes int64 // of all

	used atomic.Int64
}

// take reports whether there is room for n bytes more.
func (c *Copies) take(n int) bool {
	if c.used.Add(int64(n)) > c.Bytes {
		c.used.Add(-int64(n))
		return false
	}
	return true
}

// copies are the drafts of a topic that other nodes write. All of it is guarded by the topic's
// lock, with which its methods are called; awaitMessage and listen take it themselves. They are
// nil where there are no other nodes, and then nothing is heard or announced of any.
type copies struct {
	mu      *sync.Mutex // its topic's
	tasks   *task.Group
	room    *Copies
	drafts  *drafts // has those of which more is known than that they exist, too
	tail    *tail   // which messages were announced; nil: none is retained
	list    map[string]*copied
	endings endings // of those of this node, too
	timer   *time.Timer
	closed  bool
}

// copied is one of them.
type copied struct {
	*Draft // nil: its owner is to say what it is
	bytes  int
	heard  mono.Instant
	missed mono.Instant // when its owner was last to be told that something is missing
}

// misses reports whether the owner is to be told that something is missing.
func (c *copied) misses(now mono.Instant) bool {
	if c.missed != 0 && now.Sub(c.missed) < missAgain {
		return false
	}
	c.missed = now
	return true
}

// hear takes a piece of a draft. It returns what the members were shown of a text, if anything,
// and from where the owner is to tell it again, if something is missing.
func (cs *copies) hear(p Piece) (shown *wire.Message, from int, missing bool) {
	c := cs.find(p.Draft)
	switch {
	case c == nil:
	case c.Draft == nil && (p.Payload == nil || p.At > 0):
		missing = c.misses(mono.Now())
	case c.Draft == nil && !cs.begin(c, p):
	case p.At > len(c.text):
		from, missing = len(c.text), c.misses(mono.Now())
	default:
		c.missed = 0
		shown = cs.grow(c, p.from(len(c.text)))
	}
	return shown, from, missing
}

// find returns the copy of a draft that is heard of; nil if there is to be none.
func (cs *copies) find(id string) *copied {
	if cs == nil || cs.closed || cs.endings.has(id) {
		return nil
	}
	c := cs.list[id]
	if c == nil {
		if len(cs.list) >= maxCopies || !cs.room.take(perCopy) {
			return nil
		}
		if cs.list == nil {
			cs.list = map[string]*copied{}
		}
		c = &copied{bytes: perCopy}
		cs.list[id] = c
		if cs.timer == nil {
			cs.timer = cs.tasks.After(silentAfter, cs.listen)
		}
	}
	c.heard = mono.Now()
	return c
}

// begin shows a draft of which only its ID was known.
func (cs *copies) begin(c *copied, p Piece) bool {
	if !cs.take(c, p.Draft, len(p.Event)+len(p.Payload)) {
		return false
	}
	c.Draft = NewDraft(p.Draft, p.Event, p.Payload)
	cs.drafts.begin(c.Draft)
	return true
}

// grow shows more of a text.
func (cs *copies) grow(c *copied, more []byte) *wire.Message {
	if len(more) == 0 {
		return nil
	}
	if len(c.text)+len(more) > cs.room.Text {
		cs.refuse(c.id)
		return nil
	}
	if !cs.take(c, c.id, len(more)) {
		return nil
	}
	return cs.drafts.grow(c.Draft, more)
}

// take takes room for n bytes more, if there is any.
func (cs *copies) take(c *copied, id string, n int) bool {
	if !cs.room.take(n) {
		cs.refuse(id)
		return false
	}
	c.bytes += n
	return true
}

// refuse takes a copy out that there is no room for: members see it when it is whole.
func (cs *copies) refuse(id string) {
	cs.endings.add(id)
	cs.drop(id, unheard)
}

// drop takes a copy out, and tells the members that it is over.
func (cs *copies) drop(id, reason string) {
	if d := cs.remove(id); d != nil {
		cs.drafts.end(d, reason)
	}
}

// remove takes a copy out, and returns what members were shown of it, or nil.
func (cs *copies) remove(id string) *Draft {
	c := cs.list[id]
	if c == nil {
		return nil
	}
	delete(cs.list, id)
	cs.room.used.Add(-int64(c.bytes))
	return c.Draft
}

// hearEnd takes the end of a draft.
func (cs *copies) hearEnd(id string, o Over) {
	if cs == nil || cs.closed {
		return
	}
	cs.endings.add(id)
	switch at := o.At(); {
	case o.Reason != "":
		cs.drop(id, o.Reason)
	case at.Offset == 0: // it has come before this, or never
		cs.drop(id, replaced)
	default:
		cs.replace(id, at)
	}
}

// whole takes note of a message that is announced or read, which may be what a draft has become.
func (cs *copies) whole(event string, payload []byte, at store.Position) {
	if cs == nil {
		return
	}
	id := wholeOf(payload)
	if id == "" {
		return
	}
	if c := cs.list[id]; c != nil && c.Draft != nil && c.event != event {
		return // which somebody repeats
	}
	cs.endings.announced(id)
	cs.replace(id, at)
}

// replace takes out a copy that is a message by now. Members that will not be sent that, since
// they were or begin behind it, are told.
func (cs *copies) replace(id string, at store.Position) {
	d := cs.remove(id)
	switch {
	case d == nil:
	case at.Offset == 0 || cs.tail == nil: // all are sent it
		cs.drafts.end(d, "")
	case cs.tail.expects(at):
		cs.drafts.replace(d, at.Offset)
	default:
		cs.drafts.replace(d, 0)
	}
}

// awaitMessage is Topic.AwaitMessage.
func (cs *copies) awaitMessage(d *Draft) {
	cs.mu.Lock()
	done := cs.endings.await(d.id)
	cs.mu.Unlock()
	if done == nil || within(context.Background(), done) {
		return
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.endings.forget(d.id) {
		cs.drafts.end(d, replaced)
	}
}

// listen drops the copies that were not heard of for too long.
func (cs *copies) listen() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.timer = nil
	if cs.closed {
		return
	}
	now, next := mono.Now(), silentAfter
	for id, c := range cs.list {
		if left := silentAfter - now.Sub(c.heard); left > 0 {
			next = min(next, left)
		} else {
			cs.drop(id, unheard)
		}
	}
	if len(cs.list) > 0 {
		cs.timer = cs.tasks.After(next, cs.listen)
	}
}

// close gives back what the copies take.
func (cs *copies) close() {
	if cs == nil {
		return
	}
	cs.closed = true
	for id := range cs.list {
		cs.remove(id)
	}
	if cs.timer != nil {
		cs.timer.Stop()
	}
}
