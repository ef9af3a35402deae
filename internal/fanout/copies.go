package fanout

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/mono"
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
	// maxOver is how many drafts of a topic are remembered as over: something of them may
	// still be on its way.
	maxOver = 32
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

// copies are the drafts of a topic that other nodes write. They have no lock: they are
// guarded by their topic's. Those of which more is known than that they exist are in drafts
// too. They are nil where there are no other nodes.
type copies struct {
	room  *Copies
	list  map[string]*copied
	over  []string // the last that are, and those of this node
	timer *time.Timer

	awaited map[string]chan struct{} // drafts of this node whose ephemeral messages are to be announced
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

// Hear takes a piece of a draft that another node writes, and shows the members what they
// have not been shown. Pieces may come twice, in any order, or not at all. If something is
// missing its owner is to be told from where. As with Published no client can delay it.
func (t *Topic) Hear(p Piece) (from int, missing bool) {
	t.mu.Lock()
	c := t.copies.heard(t, p)
	var round <-chan struct{}
	switch {
	case c == nil:
	case c.Draft == nil && (p.Payload == nil || p.At > 0):
		missing = c.misses(mono.Now())
	case c.Draft == nil && !t.beginCopy(c, p):
	case p.At > len(c.text):
		from, missing = len(c.text), c.misses(mono.Now())
	default:
		c.missed = 0
		round = t.growCopy(c, p.from(len(c.text)))
	}
	t.mu.Unlock()
	pause(round)
	return from, missing
}

// heard returns the copy that p is of; nil if there is to be none.
func (cs *copies) heard(t *Topic, p Piece) *copied {
	if cs == nil || t.closed || slices.Contains(cs.over, p.Draft) {
		return nil
	}
	c := cs.list[p.Draft]
	if c == nil {
		if len(cs.list) >= maxCopies || !cs.room.take(perCopy) {
			return nil
		}
		if cs.list == nil {
			cs.list = map[string]*copied{}
		}
		c = &copied{bytes: perCopy}
		cs.list[p.Draft] = c
		if cs.timer == nil {
			cs.timer = t.members.tasks.After(silentAfter, t.listen)
		}
	}
	c.heard = mono.Now()
	return c
}

// beginCopy shows a draft of which only its ID was known. t.mu is held.
func (t *Topic) beginCopy(c *copied, p Piece) bool {
	if !t.takeCopy(c, p.Draft, len(p.Event)+len(p.Payload)) {
		return false
	}
	c.Draft = NewDraft(p.Draft, p.Event, p.Payload)
	t.begin(c.Draft)
	return true
}

// growCopy shows more of a text. t.mu is held.
func (t *Topic) growCopy(c *copied, more []byte) <-chan struct{} {
	if len(more) == 0 {
		return nil
	}
	if len(c.text)+len(more) > t.copies.room.Text {
		t.refuseCopy(c.id)
		return nil
	}
	if !t.takeCopy(c, c.id, len(more)) {
		return nil
	}
	return t.grow(c.Draft, more)
}

// takeCopy takes room for n bytes more, if there is any. t.mu is held.
func (t *Topic) takeCopy(c *copied, id string, n int) bool {
	if !t.copies.room.take(n) {
		t.refuseCopy(id)
		return false
	}
	c.bytes += n
	return true
}

// refuseCopy takes a copy out that there is no room for: its members see it when it is
// whole. t.mu is held.
func (t *Topic) refuseCopy(id string) {
	t.copies.ended(id)
	t.dropCopy(id, unheard)
}

// dropCopy takes a copy out, and tells the members that it is over. t.mu is held.
func (t *Topic) dropCopy(id, reason string) {
	if d := t.copies.remove(id); d != nil {
		t.end(d, reason)
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

// ended takes note of a draft that does not begin anew, whatever is still told of it.
func (cs *copies) ended(id string) {
	if slices.Contains(cs.over, id) {
		return
	}
	if len(cs.over) >= maxOver {
		cs.over = append(cs.over[:0], cs.over[1:]...)
	}
	cs.over = append(cs.over, id)
}

// HearEnd takes the end of a draft that another node has written.
func (t *Topic) HearEnd(id string, o Over) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.copies == nil || t.closed {
		return
	}
	t.copies.ended(id)
	switch at := o.At(); {
	case o.Reason != "":
		t.dropCopy(id, o.Reason)
	case at.Offset == 0: // it has come before this, or never
		t.dropCopy(id, replaced)
	default:
		t.replaceCopy(id, at)
	}
}

// whole takes note of a message that is announced or read, which may be what a draft of
// another node has become. t.mu is held.
func (t *Topic) whole(event string, payload []byte, at store.Position) {
	if t.copies == nil {
		return
	}
	id := wholeOf(payload)
	if id == "" {
		return
	}
	if c := t.copies.list[id]; c != nil && c.Draft != nil && c.event != event {
		return // which somebody repeats
	}
	t.copies.ended(id)
	if done := t.copies.awaited[id]; done != nil {
		close(done)
		delete(t.copies.awaited, id)
	}
	t.replaceCopy(id, at)
}

// AwaitMessage returns when the message of a draft that has ended was announced here. It is
// ephemeral, and so it may not come: then members are told after a second that the draft is over.
func (t *Topic) AwaitMessage(d *Draft) {
	done := t.awaited(d.id)
	if done == nil {
		return
	}
	timer := time.NewTimer(awaitFor)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.copies.awaited[d.id] != nil { // else it has come in this moment
		delete(t.copies.awaited, d.id)
		t.end(d, replaced)
	}
}

// awaited returns what is closed when the message of a draft is announced; nil if it was.
func (t *Topic) awaited(id string) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	cs := t.copies
	if slices.Contains(cs.over, id) {
		return nil
	}
	if cs.awaited == nil {
		cs.awaited = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	cs.awaited[id] = done
	return done
}

// replaceCopy takes out a copy that is a message by now. Members that will not be sent that,
// since they were or begin behind it, are told. t.mu is held.
func (t *Topic) replaceCopy(id string, at store.Position) {
	d := t.copies.remove(id)
	switch {
	case d == nil:
		return
	case at.Offset == 0 || t.reader == nil: // all are sent it
		t.end(d, "")
		return
	case at.Epoch != t.tail.epoch || at.Offset <= t.tail.top:
		at.Offset = 0
	}
	t.drafts.remove(d)
	t.members.endCopy(d.end(t.name, replaced), at.Offset, len(t.drafts.list) == 0)
}

// listen drops the copies that were not heard of for too long.
func (t *Topic) listen() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.copies.timer = nil
	if t.closed {
		return
	}
	now, next := mono.Now(), silentAfter
	for id, c := range t.copies.list {
		if left := silentAfter - now.Sub(c.heard); left > 0 {
			next = min(next, left)
		} else {
			t.dropCopy(id, unheard)
		}
	}
	if len(t.copies.list) > 0 {
		t.copies.timer = t.members.tasks.After(next, t.listen)
	}
}

// close gives back what the copies take.
func (cs *copies) close() {
	if cs == nil {
		return
	}
	for id := range cs.list {
		cs.remove(id)
	}
	if cs.timer != nil {
		cs.timer.Stop()
	}
}
