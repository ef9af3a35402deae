package channel

import (
	"slices"
	"sort"
	"time"

	"github.com/go-chime/chime/internal/wire"
)

// tail holds the newest retained messages of a live topic, encoded as they
// went out. Most joins want no more, so a crowd that joins at once reads the
// store once. For a crowd that wants more it is wide for a while. It is guarded
// by its topic's lock.
type tail struct {
	entries []entry
	bytes   int           // of their payloads
	base    uint64        // nothing after base is missing
	whole   bool          // no join gets more: nothing that is retained is missing, or it is beyond maxReplayBytes
	wide    bool          // holds what a join may be replayed at the most, else what most joins want
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
	t.bytes += e.m.PayloadSize()
	t.trim()
}

// trim drops what there is no room for.
func (t *tail) trim() {
	most, bytes := t.most, maxTailBytes
	if t.wide {
		most, bytes = min(maxReplay, t.keep), maxReplayBytes
	}
	for len(t.entries) > most || t.bytes > bytes && len(t.entries) > 1 {
		switch {
		case len(t.entries) > t.keep: // the store has let go of it too
		case t.wide && len(t.entries) <= most:
			t.whole = true // with what stays it is more than a join may get
		default:
			t.whole = false // the store still has it
		}
		t.dropFirst()
	}
}

// beyondNarrow reports whether only a wide tail has room for a list.
func (t *tail) beyondNarrow(list []*wire.Message) bool {
	bytes := 0
	for _, m := range list {
		bytes += m.PayloadSize()
	}
	return len(list) > t.most || bytes > maxTailBytes
}

// narrow ends being wide.
func (t *tail) narrow() {
	t.wide = false
	t.trim()
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
	t.bytes -= t.entries[0].m.PayloadSize()
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

// fill takes what the store had after base, up to top, in front of what has been
// announced since; unless there was so much of that, or it has aged, that it has
// let go of some already: then there would be a hole between the two. So there would be if the
// store was so far ahead of its announcements that none of them is in a page:
// then the page is what counts.
func (t *tail) fill(old []entry, top, base uint64, whole bool) {
	announced := t.entries
	n := len(announced)
	switch {
	case n == 0 && t.base > top, n > 0 && announced[0].prev > top:
		t.whole = false
		return
	case n > 0 && announced[n-1].m.Offset >= base:
		first, last := announced[0].m.Offset, announced[n-1].m.Offset
		before := sort.Search(len(old), func(i int) bool { return old[i].m.Offset >= first })
		beyond := sort.Search(len(old), func(i int) bool { return old[i].m.Offset > last })
		old = slices.Concat(old[:before], announced, old[beyond:])
		base = min(base, t.base)
	}
	t.entries, t.bytes, t.base, t.whole = old, 0, base, whole
	for _, e := range old {
		t.bytes += e.m.PayloadSize()
	}
	t.trim()
}

// startOf is the base of the newest messages of a topic.
func startOf(newest []entry, top uint64) uint64 {
	if len(newest) == 0 {
		return max(top, 1) // of an empty topic only the store knows whether it has a past
	}
	return baseOf(newest[0])
}

// clear forgets everything up to an offset.
func (t *tail) clear(last uint64) {
	t.entries, t.bytes, t.base, t.whole = nil, 0, last, false
}

func (t *tail) redact(offset uint64) {
	for i, e := range t.entries {
		if e.m.Offset == offset {
			t.bytes -= e.m.PayloadSize()
			t.entries = append(t.entries[:i:i], t.entries[i+1:]...)
			return
		}
	}
}
