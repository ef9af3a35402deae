package channel

import (
	"math"
	"sort"
	"time"

	"github.com/go-chime/chime/internal/wire"
)

// tail holds the newest retained messages of a live topic, encoded as they
// went out. Most joins want no more, so a crowd that joins at once reads the
// store once. It is guarded by its topic's lock.
type tail struct {
	entries []entry
	bytes   int
	base    uint64        // nothing after base is missing
	whole   bool          // nothing that is retained is missing
	keep    int           // by the channel's History; 0: it has none
	age     time.Duration // the same; 0: no limit
	most    int
}

type entry struct {
	m    *wire.Message
	prev uint64
	at   time.Time
}

const (
	minTail      = 64 // messages
	maxTailBytes = 256 << 10
)

func newTail(r *route) tail {
	if r.keep == nil {
		return tail{}
	}
	return tail{keep: r.keep.Keep, age: r.keep.Age, most: min(max(minTail, r.replay), r.keep.Keep)}
}

func (t *tail) append(e entry) {
	if t.most == 0 {
		return
	}
	if len(t.entries) == 0 {
		t.base = baseOf(e)
	}
	t.entries = append(t.entries, e)
	t.bytes += e.m.Size()
	for len(t.entries) > t.most || t.bytes > maxTailBytes && len(t.entries) > 1 {
		if len(t.entries) <= t.keep {
			t.whole = false // the store still has what is dropped here
		}
		t.dropFirst()
	}
}

// baseOf is the offset from which nothing before e is missing. Of the first
// message of a topic only the store knows whether that is a new topic or one
// whose past is forgotten.
func baseOf(e entry) uint64 {
	if e.prev == 0 {
		return e.m.Offset
	}
	return e.prev
}

func (t *tail) dropFirst() {
	t.base = t.entries[0].m.Offset
	t.bytes -= t.entries[0].m.Size()
	t.entries[0] = entry{} // it must not outlive its place
	t.entries = t.entries[1:]
}

// expire drops what is over the age that its history keeps.
func (t *tail) expire(now time.Time) {
	for t.age > 0 && len(t.entries) > 0 && !now.Before(t.entries[0].at.Add(t.age)) {
		t.dropFirst()
	}
}

// since returns up to n messages after an offset, or false if some of them may
// not be here.
func (t *tail) since(offset uint64, n int, now time.Time) ([]*wire.Message, bool) {
	t.expire(now)
	if offset < t.base {
		return nil, false
	}
	i := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].m.Offset > offset })
	return messages(t.entries[i:min(len(t.entries), i+n)]), true
}

// newest returns the newest n messages, or false if some of them are not here.
func (t *tail) newest(n int, now time.Time) ([]*wire.Message, bool) {
	t.expire(now)
	if n > len(t.entries) && !t.whole {
		return nil, false
	}
	return messages(t.entries[max(0, len(t.entries)-n):]), true
}

func messages(entries []entry) []*wire.Message {
	list := make([]*wire.Message, len(entries))
	for i, e := range entries {
		list[i] = e.m
	}
	return list
}

// fill puts what the store had, up to top, in front of what has been announced
// since; unless there was so much of that that it has let go of some already:
// then there would be a hole between the two.
func (t *tail) fill(old []entry, top uint64, whole bool) {
	announced := t.entries
	if len(announced) > 0 && announced[0].prev > top {
		t.whole = false
		return
	}
	t.entries, t.bytes = nil, 0
	t.base, t.whole = max(top, 1), whole // of an empty topic only the store knows whether it has a past
	add := func(list []entry, which func(offset uint64) bool) {
		for _, e := range list {
			if which(e.m.Offset) {
				t.append(e)
			}
		}
	}
	first, last := uint64(math.MaxUint64), uint64(math.MaxUint64)
	if n := len(announced); n > 0 {
		first, last = announced[0].m.Offset, announced[n-1].m.Offset
	}
	add(old, func(o uint64) bool { return o < first })
	add(announced, func(uint64) bool { return true })
	add(old, func(o uint64) bool { return o > last }) // the store was ahead of its announcements
}

// clear forgets everything up to an offset.
func (t *tail) clear(last uint64) {
	t.entries, t.bytes, t.base, t.whole = nil, 0, last, false
}

func (t *tail) redact(offset uint64) {
	for i, e := range t.entries {
		if e.m.Offset == offset {
			t.bytes -= e.m.Size()
			t.entries = append(t.entries[:i:i], t.entries[i+1:]...)
			return
		}
	}
}
