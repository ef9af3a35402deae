package boltstore

import (
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/go-chime/chime/store"
)

// Clients come back after a holiday. Until then a topic that is empty still
// knows whether they missed anything.
const remembered = 30 * 24 * time.Hour

// topic is what memory knows of a topic: as it will be once all that was let in
// is in the file, and as readers see it. In between is what waits for its commit.
type topic struct {
	id   uint64
	name string

	// Guarded by Store.plan together with mu: either is enough to read.
	index   int // in Store.order
	blocks  []*block
	dead    int    // that many of the first have nothing left that is visible, and wait for the sweep
	counted int    // that many of those are in Store.wasted
	n       int    // entries in the others
	top     uint64 // the last offset given
	floor   uint64 // the highest that was trimmed, aged or forgotten
	keep    store.Retention
	used    int64 // when it was last appended to, Unix nanoseconds
	named   bool  // a record in the file has its name
	touched bool  // in Store.touched
	rotten  bool  // in Store.rotten
	dropped bool
	changed []*block // the dirty ones

	mu   sync.Mutex // guards seen. Never taken inside a bbolt transaction that writes.
	seen view
}

// view is the part of a topic that readers go by.
type view struct {
	top, floor uint64
	keep       store.Retention
}

// A loader gets the entries of a block from the file.
type loader func(t *topic, b *block) ([]entry, error)

// load keeps the entries of b in memory.
func (t *topic) load(b *block, from loader) error {
	if b.entries != nil {
		return nil
	}
	entries, err := from(t, b)
	if err == nil {
		b.entries = entries
	}
	return err
}

// trim moves the floor over what the retention does not cover at the time now.
func (t *topic) trim(now int64, from loader) error {
	floor, err := t.aged(max(t.floor, t.seen.floor), math.MaxUint64, t.keep.Age, now, from)
	if err == nil && t.keep.Keep > 0 {
		floor, err = t.over(floor, t.keep.Keep, from)
	}
	if err != nil {
		return err
	}
	t.rise(floor)
	return nil
}

// rise moves the floor and counts the blocks that it leaves behind.
func (t *topic) rise(floor uint64) {
	t.floor = max(t.floor, floor)
	for t.dead < len(t.blocks) && t.blocks[t.dead].last <= t.floor {
		t.n -= t.blocks[t.dead].n
		t.dead++
	}
}

// aged returns floor, or the highest sequence up to top that has aged, if that is higher.
func (t *topic) aged(floor, top uint64, age time.Duration, now int64, from loader) (uint64, error) {
	if age <= 0 {
		return floor, nil
	}
	limit := now - int64(age)
	i := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i].last > floor })
	for _, b := range t.blocks[i:] {
		// The messages beyond the floor are in the order of their times.
		if b.last <= top && b.newest <= limit {
			floor = b.last
			continue
		}
		if b.first > floor && b.began > limit {
			break
		}
		if err := t.load(b, from); err != nil {
			return 0, err
		}
		for _, e := range b.entries[beyond(b.entries, floor):] {
			if e.seq > top || e.at > limit {
				break
			}
			floor = e.seq
		}
		break
	}
	return floor, nil
}

// agedSeen returns the floor that readers have at the time now. mu is held.
func (t *topic) agedSeen(now int64, from loader) (uint64, error) {
	return t.aged(t.seen.floor, t.seen.top, t.seen.keep.Age, now, from)
}

// visible is agedSeen for who does not hold mu.
func (t *topic) visible(now int64, from loader) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock() // also when the file can't be mapped any more, which panics
	return t.agedSeen(now, from)
}

// over returns floor, or the sequence under the newest keep entries, if that is higher.
func (t *topic) over(floor uint64, keep int, from loader) (uint64, error) {
	if t.n <= keep {
		return floor, nil
	}
	left := t.n
	for _, b := range t.blocks[t.dead:] {
		under := 0
		if b.last <= floor {
			under = b.n
		} else if b.first <= floor {
			if err := t.load(b, from); err != nil {
				return 0, err
			}
			under = beyond(b.entries, floor)
		}
		left -= under
		over := left - keep
		if over <= 0 {
			break
		}
		if over >= b.n-under {
			if b.n > under {
				floor = b.last
			}
			left -= b.n - under
			continue
		}
		if err := t.load(b, from); err != nil {
			return 0, err
		}
		return b.entries[under+over-1].seq, nil
	}
	return floor, nil
}

// last returns the time of the last message that is visible.
func (t *topic) last() (at int64, ok bool) {
	if len(t.blocks) == t.dead {
		return 0, false
	}
	b := t.blocks[len(t.blocks)-1]
	return b.newest, true // rise has seen to it that it is beyond the floor
}

// add appends an entry to the index.
func (t *topic) add(e entry, from loader) error {
	var b *block
	if len(t.blocks) > t.dead {
		b = t.blocks[len(t.blocks)-1]
	}
	if b == nil || b.full(t.keep, e.at) {
		b = &block{first: e.seq, began: e.at}
		t.blocks = append(t.blocks, b)
	} else if err := t.load(b, from); err != nil {
		return err
	}
	t.change(b)
	b.add(e)
	t.n++
	return nil
}

func (t *topic) change(b *block) {
	if !b.dirty {
		t.changed = append(t.changed, b)
	}
}

// find returns the block that may hold seq, and the entry's place in it, or nil.
func (t *topic) find(seq uint64, from loader) (*block, int, error) {
	i := t.dead + sort.Search(len(t.blocks)-t.dead, func(i int) bool { return t.blocks[t.dead+i].last >= seq })
	if i == len(t.blocks) || seq <= t.floor {
		return nil, 0, nil
	}
	b := t.blocks[i]
	if err := t.load(b, from); err != nil {
		return nil, 0, err
	}
	j := beyond(b.entries, seq) - 1
	if j < 0 || b.entries[j].seq != seq {
		return nil, 0, nil
	}
	return b, j, nil
}

// remove takes one entry out.
func (t *topic) remove(b *block, i int) {
	t.change(b)
	b.remove(i)
	t.n--
	if b.n == 0 {
		t.blocks = slices.DeleteFunc(t.blocks, func(o *block) bool { return o == b })
	}
	t.rise(t.floor) // what is left of the block may be under the floor
}

// idle reports whether nobody will ask for the topic any more.
func (t *topic) idle(now int64) bool { return len(t.blocks) == 0 && now-t.used >= int64(remembered) }

func encodeTopic(key []byte, t *topic) []byte {
	buf := begin(nil)
	buf = appendBytes(buf, t.name)
	buf = binary.AppendUvarint(buf, t.top)
	buf = binary.AppendUvarint(buf, t.floor)
	buf = appendKeep(buf, t.keep)
	buf = appendFixed(buf, t.used)
	seal(key, buf)
	return buf
}

func decodeTopic(key, value []byte) (*topic, error) {
	id, err := number(key)
	if err != nil {
		return nil, err
	}
	r, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	t := &topic{id: id, name: string(r.bytes()), top: r.uint(), floor: r.uint(), named: true}
	t.keep = r.keep()
	t.used = r.fixed()
	return t, r.end()
}
