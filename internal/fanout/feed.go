package fanout

import (
	"fmt"
	"math"
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// feed is what is retained in a topic, as its members are sent it: where it ends as far as was
// announced, the newest of it in memory, and what it means for them that something is missing
// or that another epoch begins. All of it is guarded by the topic's lock, with which its methods
// are called, unless they say that they take it.
type feed struct {
	topic   string
	mu      *sync.Mutex // its topic's
	members *roster
	budget  *Budget
	share   share // guarded by the budget
	reader  reader
	lookout lookout
	sure    bool // no announcement is ever missing

	tail   tail
	waits  waits
	erased int // how often something was
	closed bool
}

// newFeed returns that of a topic, whose members and copies may be changed by what is read.
func newFeed(t *Topic, c Config) *feed {
	f := &feed{topic: t.name, mu: &t.mu, members: &t.members, budget: c.Budget, sure: c.Sure, tail: tail{keep: c.Keep, age: c.Age}}
	f.reader = newReader(f, t.copies, c)
	f.lookout = lookout{feed: f, checks: c.Checks, found: c.Found}
	return f
}

// announce sends m, which was made of p, to the members that have not had it.
func (f *feed) announce(m *wire.Message, p *broker.Publication) {
	if f.closed {
		return
	}
	if !f.sure {
		f.recall()
	}
	switch f.tail.place(p) {
	case next:
		f.tail.append(m, p.At)
		f.budget.charge(f)
		f.members.offer(m, p.Prev)
		f.waits.release(f.tail.top)
	case missing:
		f.lookout.count(stats.ByMessage)
		f.skip(p.Offset)
	case foreign: // the history knows whether its epoch has changed, or p is late
		f.lookout.doubt()
	}
}

// erase is Topic.Erased.
func (f *feed) erase(at store.Position) {
	f.erased++
	switch {
	case f.tail.known() && at.Epoch != f.tail.epoch: // as with a publication
		f.lookout.check()
	default:
		f.tail.erase(at.Offset)
		f.budget.charge(f)
		f.reader.erase(at)
	}
}

// lose is Topic.Lost.
func (f *feed) lose() {
	f.tail.drop() // what was erased meanwhile is not to be replayed
	f.budget.charge(f)
	f.lookout.check()
}

// take takes a part of the history that was read, but for the messages that were erased since.
// Outdone is how many more it may have let go of.
func (f *feed) take(entries []entry, part store.Range, page store.Page, outdone int) {
	f.recall()
	if f.tail.known() && page.Epoch != f.tail.epoch {
		f.renew(page.Epoch, page.Top)
	}
	f.tail.take(entries, part, page)
	f.tail.giveUp(outdone)
	f.budget.charge(f)
}

// skip goes on at an offset up to which announcements are missing. All members
// read what they have not had.
func (f *feed) skip(offset uint64) {
	had := f.tail.top
	f.tail.reset(f.tail.epoch, offset)
	f.budget.charge(f)
	f.members.fallBehind(had, offset)
	f.waits.release(offset)
}

// recall is called before the tail begins. Members that are live by then have joined while the
// history could not be read: what was said since then may be before the beginning, and they
// would not be sent it. As nothing is sent to them before, they come back from where they
// are.
func (f *feed) recall() {
	if !f.tail.known() {
		f.lookout.forgive() // the failures were of reads that nobody who comes now depends on
		f.members.failAll(ErrUnread)
	}
}

// renew begins another epoch, in which the positions of the members mean nothing.
func (f *feed) renew(epoch string, top uint64) {
	f.tail.reset(epoch, top)
	f.budget.charge(f)
	f.members.failAll(ErrGap)
	f.waits.release(math.MaxUint64)
}

// giveUp fails all members: never a gap in silence. Those who join from then on are sent
// nothing of the history until a look finds where it ends.
func (f *feed) giveUp(why error) {
	f.tail.reset("", 0)
	f.waits.release(math.MaxUint64)
	f.budget.charge(f)
	f.members.failAll(fmt.Errorf("announcements are missing, and the history can't be read: %w", why))
}

// close gives back what the feed takes of the budget, and ends all waits.
func (f *feed) close() {
	f.closed = true
	f.waits.release(math.MaxUint64)
	f.lookout.close()
	f.tail.drop()
	f.budget.charge(f)
}
