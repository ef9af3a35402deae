package fanout

import (
	"slices"
	"sort"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// What a join is replayed, whatever it asks for. Beyond it a client is told of a
// gap, instead of being sent messages for minutes. A tail holds no more.
const (
	MaxReplay      = 500
	maxReplayBytes = 1 << 20
)

// tail is the newest part of a topic's history, in memory and encoded as it went
// out: everything retained after base, up to top, which was announced last. Most
// joins want no more, so a crowd that joins at once reads the history once. It
// has no lock: it is guarded by its topic's.
type tail struct {
	epoch   string // "": nothing is known yet
	base    uint64
	top     uint64
	last    time.Time // when the message at top was published; zero: nobody knows, or it was erased
	floor   uint64    // no position before it can be recovered
	origin  bool      // if base is 0, nothing was forgotten before it: of an empty topic only the history knows
	whole   bool      // no join is replayed more: nothing before base is retained, or it is beyond maxReplayBytes
	entries []entry
	payload int // bytes of their payloads, by which replays are bounded
	size    int // bytes that they take, about
	keep    int
	age     time.Duration // 0: for ever

	// strays are positions within that are of no message here: whether the history has all
	// that came after them.
	strays map[uint64]bool
}

// maxStrays is how many strays are remembered: more are read about again.
const maxStrays = 64

// entry is a retained message.
type entry struct {
	m  *wire.Message
	at time.Time
}

// size is what e takes: its payload, and a form of it or two.
func (e entry) size() int { return 2*e.m.Size() + entrySize }

const entrySize = 256

// entriesOf encodes what was read.
func entriesOf(topic string, list []store.Message) []entry {
	entries := make([]entry, len(list))
	for i := range list {
		m := &list[i]
		entries[i] = entry{messageOf(topic, m), m.At}
	}
	return entries
}

// messageOf is a published message as it goes to clients.
func messageOf(topic string, m *store.Message) *wire.Message {
	if m.Binary {
		return wire.NewBinaryPush(topic, m.Event, m.Payload, m.Offset)
	}
	return wire.NewPush(topic, m.Event, m.Payload, m.Offset)
}

// known reports whether t knows where the top is.
func (t *tail) known() bool { return t.epoch != "" }

// expects reports whether what is at a position is still to be announced.
func (t *tail) expects(at store.Position) bool { return at.Epoch == t.epoch && at.Offset > t.top }

// follow is what an announcement means for a tail.
type follow int

const (
	next    follow = iota // it follows the last one
	old                   // it was announced, or read, before
	missing               // something between the last one and this is missing
	foreign               // it is of another epoch
)

// place says how p follows. An announcement before anything is known is where
// the tail begins.
func (t *tail) place(p *broker.Publication) follow {
	switch {
	case !t.known():
		t.reset(p.Epoch, before(&p.Message))
		return next
	case p.Epoch != t.epoch:
		return foreign
	case p.Offset <= t.top:
		return old
	case p.Prev == t.top:
		return next
	}
	return missing
}

// append takes the message that follows.
func (t *tail) append(m *wire.Message, at time.Time) {
	e := entry{m, at}
	t.top, t.last, t.entries = m.Offset, at, append(t.entries, e)
	t.count(e, 1)
	t.trim()
}

// count adds n times what e takes.
func (t *tail) count(e entry, n int) {
	t.payload += n * e.m.PayloadSize()
	t.size += n * e.size()
}

// reset begins anew at a position, behind which nothing is known.
func (t *tail) reset(epoch string, top uint64) {
	*t = tail{epoch: epoch, base: top, top: top, keep: t.keep, age: t.age}
}

// drop lets go of all entries.
func (t *tail) drop() {
	t.entries, t.payload, t.size, t.base, t.whole = nil, 0, 0, t.top, false
}

// erase drops a message, or all of them if offset is 0. With less there is less
// to recover.
func (t *tail) erase(offset uint64) {
	t.floor = 0
	if offset == 0 || offset == t.top {
		t.last = time.Time{}
	}
	if offset == 0 {
		t.drop()
		return
	}
	// The history may still have what there was no room for: it has one less.
	t.whole = false
	if i := t.after(offset - 1); i < len(t.entries) && t.entries[i].m.Offset == offset {
		t.count(t.entries[i], -1)
		t.entries = slices.Concat(t.entries[:i], t.entries[i+1:])
	}
}

// trim drops what there is no room for.
func (t *tail) trim() {
	for n := len(t.entries); n > t.keep || n > MaxReplay || t.payload > maxReplayBytes && n > 1; n = len(t.entries) {
		if n <= t.keep { // else the history has let go of it too
			t.whole = t.payload > maxReplayBytes
		}
		t.dropFirst()
	}
}

func (t *tail) dropFirst() {
	t.base = t.entries[0].m.Offset
	t.count(t.entries[0], -1)
	t.entries[0] = entry{} // it must not outlive its place
	t.entries = t.entries[1:]
}

// giveUp drops the oldest n, which the history may have let go of.
func (t *tail) giveUp(n int) {
	for ; n > 0 && len(t.entries) > 0; n-- {
		t.whole = false
		t.dropFirst()
	}
}

// expire drops what is over the age that the history keeps.
func (t *tail) expire(now time.Time) {
	for t.age > 0 && len(t.entries) > 0 && !now.Before(t.entries[0].at.Add(t.age)) {
		t.dropFirst()
	}
}

// recent is how old a message may be that is retained if nothing was lost: it is younger
// than the age that any engine lets messages reach, and what a fail-over loses is younger.
const recent = 2 * time.Minute

// retains reports whether the message at top is too young to have aged.
func (t *tail) retains(now time.Time) bool {
	old := now.Sub(t.last)
	return !t.last.IsZero() && old < recent && (t.age == 0 || old < t.age/2)
}

// mark is where a topic ended, as far as was announced.
type mark struct {
	top      uint64
	retained bool // the message at top was to be in the history, not long after that
}

// mark is where t ends.
func (t *tail) mark(now time.Time) mark { return mark{t.top, t.retains(now)} }

// behind reports whether a history that ends at an offset ends before m: a fail-over has lost
// the end of it. One that ends nowhere has aged, unless it had no time for that.
func (m mark) behind(top uint64) bool { return top < m.top && (top > 0 || m.retained) }

// after returns the index of the first entry after an offset.
func (t *tail) after(offset uint64) int {
	return sort.Search(len(t.entries), func(i int) bool { return t.entries[i].m.Offset > offset })
}

// covers reports whether everything after an offset is here.
func (t *tail) covers(offset uint64) bool { return t.known() && offset >= t.base }

// reaches reports whether what follows a member's position is here, if anything
// does. Of a position of no message here see recovers.
func (t *tail) reaches(offset uint64) bool {
	return offset >= t.top || t.covers(offset) && (t.has(offset) || t.strays[offset])
}

// isBad reports whether it was found that not all is there that came after a position.
func (t *tail) isBad(offset uint64) bool {
	good, known := t.strays[offset]
	return known && !good
}

// meets reports whether what follows the position of a join is here, if anything
// does.
func (t *tail) meets(p store.Position) bool {
	return t.known() && p.Epoch == t.epoch && t.reaches(p.Offset)
}

// recovers reports whether everything after the position of a join is here. A position that
// is of no message here may be of one that was erased, or of one that the engine has lost in a
// fail-over: then more may be lost before the next. The history tells them apart.
func (t *tail) recovers(offset uint64) bool {
	return t.covers(offset) && offset <= t.top && (offset > 0 || t.origin) && (t.has(offset) || t.strays[offset])
}

// has reports whether a position is that of a message here, or the one before it.
func (t *tail) has(offset uint64) bool {
	if offset == t.base || offset == t.top {
		return true
	}
	i := t.after(offset)
	return i > 0 && t.entries[i-1].m.Offset == offset || i < len(t.entries) && t.entries[i].m.Offset-1 == offset
}

// mayRecover reports whether the history may have everything after a position.
func (t *tail) mayRecover(p store.Position) bool {
	return p.Epoch == t.epoch && p.Offset >= t.floor && !t.isBad(p.Offset)
}

// judge takes note of whether the history has all that came after a position: a crowd must
// not read it once for each, to learn the same.
func (t *tail) judge(offset uint64, good bool) {
	switch {
	case !good && !t.covers(offset):
		t.floor = max(t.floor, offset+1)
	case t.covers(offset) && !t.has(offset):
		if t.strays == nil || len(t.strays) == maxStrays {
			t.strays = map[uint64]bool{}
		}
		t.strays[offset] = good
	}
}

// newest returns the position before the newest n messages, or false if some of
// them are not here.
func (t *tail) newest(n int) (offset uint64, ok bool) {
	switch have := len(t.entries); {
	case !t.known():
		return 0, false
	case n == 0 || have == 0 && t.whole:
		return t.top, true
	case n <= have:
		return t.entries[have-n].m.Offset - 1, true
	case t.whole:
		return t.entries[0].m.Offset - 1, true
	}
	return 0, false
}

// take puts what was read in front of what is here, if the two meet. A page may
// be ahead of the announcements: what is beyond top is still to be announced. The
// newest are the tail's own from then on; other entries are a page that is still to be sent.
func (t *tail) take(entries []entry, r store.Range, p store.Page) {
	if !t.known() {
		t.reset(p.Epoch, p.Top)
	}
	if n := len(entries); n > 0 && entries[n-1].m.Offset == t.top {
		t.last = entries[n-1].at
	}
	base, end, whole := r.After, endOf(p), p.Complete
	if r.Newest {
		base, end, whole = startOf(p), p.Top, true
	}
	if !whole || end < t.base {
		return
	}
	if r.After == 0 && !r.Newest {
		t.origin = true
	}
	if base < t.base {
		n := sort.Search(len(entries), func(i int) bool { return entries[i].m.Offset > t.base })
		for _, e := range entries[:n] {
			t.count(e, 1)
		}
		if r.Newest && len(t.entries) == 0 {
			t.entries = entries[:n]
		} else {
			t.entries = slices.Concat(entries[:n], t.entries)
		}
		t.base = base
		t.trim()
	}
	if r.Newest && len(p.Messages) < r.Limit {
		t.whole = true // less than a join asked for is all that any is replayed
	}
}

// startOf is the position that the newest messages of a topic follow.
func startOf(p store.Page) uint64 {
	if len(p.Messages) == 0 {
		return p.Top
	}
	return before(&p.Messages[0])
}

// before is the position that m follows. Of the first message that is remembered
// only the history knows what came before it.
func before(m *store.Message) uint64 {
	if m.Prev == 0 {
		return m.Offset - 1
	}
	return m.Prev
}
