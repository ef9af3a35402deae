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
	if t.feed != nil {
		return t.feed.join(m, want, greet)
	}
	t.members.add(m, live)
	greet(nil)
	if state := t.drafts.now(false); state != nil {
		m.shown = true
		_ = m.queue.Send(state, "") // as any ephemeral message: a client that has ended hears of it elsewhere
	}
	return nil
}

// join makes m a member that is sent what is retained. It is Topic.Join.
func (f *feed) join(m *Member, want Want, greet func(start *Start)) error {
	f.members.add(m, joining) // before anything is read, or ephemeral messages would reach nobody meanwhile
	var failed error
	start, ok := f.find(want)
	for tries := 0; !ok && tries < joinTries && failed == nil; tries++ {
		start, failed = f.reader.seek(m.owner.Context(), want)
		// What is announced meanwhile may push the start out of memory again, and
		// retention then out of the history. Here it can do neither.
		ok = f.tail.meets(start.Position)
	}
	greet(&start)
	if m.state == outside { // it was told to leave meanwhile
		return failed
	}
	if start.Epoch != f.tail.epoch && (f.tail.known() || !start.Unread) {
		f.members.fail(m, ErrGap) // what begins at the start is not known any more
		return failed
	}
	if !f.tail.known() && !f.sure {
		f.lookout.doubt() // until it is known where the topic ends, and then m comes back
	}
	m.state, m.at = behind, start.Offset
	if m.at >= f.tail.top && m.rise() {
		return failed
	}
	if !m.pager.claim() {
		m.pager.add(due{m: m})
		return failed
	}
	more := m
	if f.tail.reaches(m.at) && f.send(m, MaxReplay) {
		more = nil
	}
	m.pager.release(more)
	return failed
}

// find returns where a join begins, if that can be told from memory.
func (f *feed) find(want Want) (Start, bool) {
	f.tail.expire(time.Now())
	start := Start{Position: store.Position{Epoch: f.tail.epoch}}
	if s := want.Since; s != nil && f.tail.mayRecover(*s) {
		start.Offset, start.Recovered = s.Offset, true
		// The history may be ahead of its announcements.
		return start, f.tail.recovers(s.Offset)
	}
	var ok bool
	start.Offset, ok = f.tail.newest(want.Last)
	return start, ok
}
