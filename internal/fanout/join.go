package fanout

import (
	"time"

	"github.com/go-chime/chime/store"
)

// Want is what a join asks to be replayed.
type Want struct {
	Since *store.Position // what follows it; nil: the newest
	Last  int             // how many of the newest, where there is no Since or a gap behind it; at most MaxReplay
}

// Start is the position at which a join begins: what is retained after it is
// sent, and nothing before it.
type Start struct {
	store.Position
	Recovered bool // there is no gap after Want.Since
	Unread    bool // the history could not be read, and what should be replayed is not
}

// joinTries is how often a join looks for a start that is still in memory when it
// has found it. After that it reads pages like others.
const joinTries = 3

// Join makes m a member. Greet is called once, before anything is sent to m and
// with the topic's lock held; start is nil in a topic without history. An error is
// of the history; m has joined all the same, without what could not be read.
func (t *Topic) Join(m *Member, want Want, greet func(start *Start)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reader == nil {
		t.members.add(m, live)
		greet(nil)
		if state := t.drafts.now(false); state != nil {
			m.shown = true
			_ = m.queue.Send(state, "") // as any ephemeral message: a client that has ended hears of it elsewhere
		}
		return nil
	}
	t.members.add(m, joining) // before anything is read, or ephemeral messages would reach nobody meanwhile
	var failed error
	start, ok := t.find(want)
	for tries := 0; !ok && tries < joinTries && failed == nil; tries++ {
		start, failed = t.reader.seek(m.owner.Context(), want)
		// What is announced meanwhile may push the start out of memory again, and
		// retention then out of the history. Here it can do neither.
		ok = t.tail.meets(start.Position)
	}
	greet(&start)
	if m.state == outside { // it was told to leave meanwhile
		return failed
	}
	if start.Epoch != t.tail.epoch && (t.tail.known() || !start.Unread) {
		t.members.fail(m, ErrGap) // what begins at the start is not known any more
		return failed
	}
	if !t.tail.known() && !t.sure {
		t.reader.doubt() // until it is known where the topic ends, and then m comes back
	}
	m.state, m.at = behind, start.Offset
	if m.at >= t.tail.top && m.rise() {
		return failed
	}
	if !m.pager.claim() {
		m.pager.add(due{m: m})
		return failed
	}
	more := m
	if t.tail.reaches(m.at) && t.send(m, MaxReplay) {
		more = nil
	}
	m.pager.release(more)
	return failed
}

// find returns where a join begins, if that can be told from memory. t.mu is held.
func (t *Topic) find(want Want) (Start, bool) {
	t.tail.expire(time.Now())
	start := Start{Position: store.Position{Epoch: t.tail.epoch}}
	if s := want.Since; s != nil && t.tail.mayRecover(*s) {
		start.Offset, start.Recovered = s.Offset, true
		// The history may be ahead of its announcements.
		return start, t.tail.recovers(s.Offset)
	}
	var ok bool
	start.Offset, ok = t.tail.newest(want.Last)
	return start, ok
}
