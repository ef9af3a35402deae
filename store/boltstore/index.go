package boltstore

import (
	"encoding/binary"
	"math"
	"sort"
	"time"

	"github.com/go-chime/chime/store"
)

// entry is what the index knows of a message: enough to decide what a page
// holds without a look at the log.
type entry struct {
	seq  uint64
	at   int64 // Unix nanoseconds
	size int   // bytes of payload
}

// block is a piece of a topic's index: the entries of messages that follow each
// other there. In the file it is one value, under its topic and first. Of a
// block that is stored, memory holds only this.
type block struct {
	first   uint64 // its key; the first sequence it was begun with
	last    uint64 // sequence of its last entry
	newest  int64  // time of its last entry
	began   int64  // time of the entry it was begun with
	n       int
	entries []entry // nil: only in the file
	dirty   bool    // not, or not as it is, in a checkpoint
}

const (
	// blockMost is how many entries a block takes at most. A read decodes whole
	// blocks, so more would cost each of them; fewer would cost memory.
	blockMost  = 128
	blockLeast = 8

	// maxPayload keeps a record well below what bbolt takes: an error for one
	// message must not become one for all that are committed with it.
	maxPayload = 1 << 30
)

// full reports whether an entry from the time at begins a new block. Messages are
// deleted by blocks: where few are kept, or not for long, a block has to be
// small or it would hold on to many times of that.
func (b *block) full(keep store.Retention, at int64) bool {
	most := blockMost
	if keep.Keep > 0 {
		most = min(max(keep.Keep/4, blockLeast), blockMost)
	}
	return b.n >= most || keep.Age > 0 && time.Duration(at-b.began) > keep.Age/4
}

func (b *block) add(e entry) {
	b.entries = append(b.entries, e)
	b.n, b.last, b.newest, b.dirty = len(b.entries), e.seq, e.at, true
}

// remove takes out the i-th entry. The block may be empty then.
func (b *block) remove(i int) {
	b.entries = append(b.entries[:i], b.entries[i+1:]...)
	b.n, b.dirty = len(b.entries), true
	if b.n > 0 {
		b.last, b.newest = b.entries[b.n-1].seq, b.entries[b.n-1].at
	}
}

// beyond returns the index of the first entry after seq.
func beyond(entries []entry, seq uint64) int {
	return sort.Search(len(entries), func(i int) bool { return entries[i].seq > seq })
}

func encodeBlock(key []byte, b *block) []byte {
	buf := begin(nil)
	buf = binary.AppendUvarint(buf, uint64(len(b.entries)))
	buf = appendFixed(buf, b.began)
	seq, at := b.first, b.began
	for _, e := range b.entries {
		buf = binary.AppendUvarint(buf, e.seq-seq)
		buf = binary.AppendVarint(buf, e.at-at) // what has aged may have been said later than what follows
		buf = binary.AppendUvarint(buf, uint64(e.size))
		seq, at = e.seq, e.at
	}
	seal(key, buf)
	return buf
}

// decodeBlock reads what encodeBlock wrote, with its entries.
func decodeBlock(key, value []byte) (topic uint64, b *block, err error) {
	topic, first, err := blockID(key)
	if err != nil {
		return 0, nil, err
	}
	r, err := unseal(key, value)
	if err != nil {
		return 0, nil, err
	}
	n := r.uint()
	b = &block{first: first, began: r.fixed()}
	if n == 0 || n > uint64(len(r.b))/3 { // three numbers each
		return 0, nil, errRange
	}
	b.entries = make([]entry, n)
	seq, at := first, b.began
	for i := range b.entries {
		step := r.uint()
		if step > math.MaxUint64-seq || i > 0 && step == 0 {
			r.fail(errRange)
		}
		seq += step
		at += r.int()
		size := r.uint()
		if size > maxPayload {
			r.fail(errRange)
		}
		b.entries[i] = entry{seq, at, int(size)}
	}
	b.n, b.last, b.newest = int(n), seq, at
	return topic, b, r.end()
}
