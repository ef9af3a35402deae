package fanout

import (
	"context"
	"math"
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

const (
	// A page is what one look at the history takes, for a member that is behind.
	pageMessages = 100
	pageBytes    = 256 << 10
	// The first join reads some of the newest messages, for itself and for others.
	firstMessages = 64
	// joinTries is how often a join looks for a start that is still in memory
	// when it has found it. After that it reads pages like others.
	joinTries = 3
)

// topAlone reads no message.
var topAlone = store.Range{After: math.MaxUint64}

// Join makes m a member. Greet is called once, before anything is sent to m and
// with the topic's lock held; start is nil in a topic without history. An error is
// of the history; m has joined all the same, without what could not be read.
func (t *Topic) Join(m *Member, want Want, greet func(start *Start)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.history == nil {
		t.enter(m, live)
		greet(nil)
		return nil
	}
	t.enter(m, joining) // before anything is read, or ephemeral messages would reach nobody meanwhile
	var failed error
	start, ok := t.find(want)
	for tries := 0; !ok && tries < joinTries && failed == nil; tries++ {
		t.mu.Unlock()
		start, failed = t.seek(m.owner.Context(), want)
		t.mu.Lock()
		// What is announced meanwhile may push the start out of memory again, and
		// retention then out of the history. Here it can do neither.
		ok = t.tail.covers(start.Offset) && start.Epoch == t.tail.epoch || start.Offset >= t.tail.top
	}
	greet(&start)
	m.state, m.at = behind, start.Offset
	if m.at >= t.tail.top {
		m.rise()
		return failed
	}
	if !m.pager.claim() {
		m.pager.add(m)
		return failed
	}
	more := m
	if t.near(m) && t.send(m, MaxReplay) {
		more = nil
	}
	m.pager.release(more)
	return failed
}

// find returns where a join begins, if that can be told from memory. t.mu is held.
func (t *Topic) find(want Want) (Start, bool) {
	t.tail.expire(time.Now())
	start := Start{Position: store.Position{Epoch: t.tail.epoch}}
	if s := want.Since; s != nil && s.Epoch == t.tail.epoch && s.Offset >= t.tail.floor {
		start.Offset, start.Recovered = s.Offset, true
		// The history may be ahead of its announcements.
		return start, t.tail.recovers(s.Offset)
	}
	var ok bool
	start.Offset, ok = t.tail.newest(want.Last)
	return start, ok
}

// seek reads where a join begins. Of a crowd that wants the same one reads the
// history, and the others find it in the tail. What can't be read is left out.
func (t *Topic) seek(ctx context.Context, want Want) (Start, error) {
	if err := t.claim(ctx); err != nil {
		return t.unread(), err
	}
	defer t.release()
	locked := func(want Want) (Start, bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.find(want)
	}
	if start, ok := locked(want); ok { // it has waited for whoever read it
		return start, nil
	}
	var failed error
	if !t.known() {
		// Most joins want no more, and a position is mostly near the top.
		if _, _, failed = t.read(ctx, store.Range{Newest: true, Limit: max(t.first, want.Last), Bytes: maxReplayBytes}); failed == nil {
			if start, ok := locked(want); ok {
				return start, nil
			}
		}
	}
	if want.Since != nil && t.mayRecover(*want.Since) {
		_, page, err := t.read(ctx, store.Range{After: want.Since.Offset, Limit: MaxReplay, Bytes: maxReplayBytes})
		if err == nil && page.Epoch == want.Since.Epoch {
			if page.Complete && !page.More {
				return Start{Position: *want.Since, Recovered: true}, nil
			}
			t.raise(want.Since.Offset, page)
		}
		if err != nil {
			failed = err // but the newest may be what can be read
		}
	}
	newest := Want{Last: want.Last}
	if start, ok := locked(newest); ok {
		return start, failed
	}
	if want.Last > 0 {
		_, page, err := t.read(ctx, store.Range{Newest: true, Limit: want.Last, Bytes: maxReplayBytes})
		if err == nil {
			start := Start{Position: store.Position{Epoch: page.Epoch, Offset: page.Top}}
			if len(page.Messages) > 0 {
				start.Offset = page.Messages[0].Offset - 1
			}
			return start, failed
		}
		failed = err
	}
	_, page, err := t.read(ctx, topAlone)
	if err != nil {
		return t.unread(), err
	}
	return Start{Position: store.Position{Epoch: page.Epoch, Offset: page.Top}, Unread: want.Last > 0}, failed
}

func (t *Topic) known() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tail.known()
}

// mayRecover reports whether it is worth reading what follows a position.
func (t *Topic) mayRecover(p store.Position) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.tail.known() || p.Epoch == t.tail.epoch && p.Offset >= t.tail.floor
}

// raise notes that nothing up to a position can be recovered, so that a crowd
// does not read the history once for each.
func (t *Topic) raise(offset uint64, page store.Page) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if offset <= page.Top && page.Epoch == t.tail.epoch {
		t.tail.floor = max(t.tail.floor, offset+1)
	}
}

// unread is where a join begins without a history: with what comes now.
func (t *Topic) unread() Start {
	t.mu.Lock()
	defer t.mu.Unlock()
	start := Start{Position: store.Position{Epoch: t.tail.epoch, Offset: t.tail.top}, Unread: true}
	if !t.tail.known() {
		start.Epoch = t.history.Epoch()
	}
	return start
}
