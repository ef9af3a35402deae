// Package queue holds the messages for one client: those that wait, and those that
// were written and may have to be written again, which are numbered. It knows no
// lock, no connection and no encoding.
package queue

import "github.com/go-chime/chime/internal/wire"

// Item is one entry of a queue: a shared message and what is this client's own
// in it.
type Item struct {
	M  *wire.Message
	To string // the join_ref of a join that asked for positions
}

// Size is what it counts for, against the limits of a queue.
func (it Item) Size() int { return it.M.Size() + len(it.To) }

// Queue is a ring of messages for one client: the oldest have been written and
// may have to be written again, the others wait for their first time. Few
// messages fit into the queue itself; more than that get a ring of their own.
// The zero Queue is empty. Its owner's lock guards it.
type Queue struct {
	budget       *Budget // nil: none
	first        [minRing]Item
	ring         []Item // nil while first is the ring
	head         int32
	n            int32
	unacked      int32  // of the n, the oldest: written, on this connection or a former one
	at           int32  // of these, written on this connection
	bytes        int    // of the others
	unackedBytes int    // bytes of those
	own          int    // bytes that no other queue holds, for the budget
	base         uint64 // the number of the last counted message that is forgotten
}

// Sizes of rings are powers of two.
const (
	minRing  = 4
	keepRing = 16 // a larger ring is given back when it runs empty
)

// Init has q count what it holds against b.
func (q *Queue) Init(b *Budget) { q.budget = b }

func (q *Queue) slots() []Item {
	if q.ring == nil {
		return q.first[:]
	}
	return q.ring
}

// slot is that of the i-th message, or the one behind the last.
func (q *Queue) slot(i int32) *Item {
	slots := q.slots()
	return &slots[int(q.head+i)&(len(slots)-1)]
}

// Push queues it.
func (q *Queue) Push(it Item) {
	if slots := q.slots(); int(q.n) == len(slots) {
		ring := make([]Item, 2*len(slots))
		for i := range q.n {
			ring[i] = *q.slot(i)
		}
		clear(slots)
		q.ring, q.head = ring, 0
	}
	*q.slot(q.n) = it
	q.n++
	q.bytes += it.Size()
	q.own = q.budget.Hold(it, q.own)
}

// Fits reports whether it has room in a queue in which so many bytes may wait. One
// message always fits where none waits.
func (q *Queue) Fits(it Item, bytes int) bool {
	return q.Waiting() == 0 || q.bytes+it.Size() <= bytes
}

// WaitingBytes returns the size of what has never been written.
func (q *Queue) WaitingBytes() int { return q.bytes }

// Waiting returns how many messages have never been written.
func (q *Queue) Waiting() int { return int(q.n - q.unacked) }

// Forgotten returns the number of the last counted message that is forgotten.
func (q *Queue) Forgotten() uint64 { return q.base }

// Due returns how many messages are to be written on this connection.
func (q *Queue) Due() int { return int(q.n - q.at) }

// Sent returns the number of the last counted message that has been written.
func (q *Queue) Sent() uint64 { return q.base + uint64(q.unacked) }

// At returns the number of the last message that has been written on this connection,
// or was acknowledged before.
func (q *Queue) At() uint64 { return q.base + uint64(q.at) }

// Next returns the oldest message that is due and its number. It stays in the
// queue, to be acknowledged or forgotten.
func (q *Queue) Next() (Item, uint64) {
	it := *q.slot(q.at)
	q.at++
	if q.at > q.unacked {
		q.unacked = q.at
		size := it.Size()
		q.bytes -= size
		q.unackedBytes += size
	}
	return it, q.At()
}

// Forget drops the oldest message, which has been written.
func (q *Queue) Forget() {
	slots := q.slots()
	it := slots[q.head]
	slots[q.head] = Item{} // the message must not outlive its last reader
	q.head = (q.head + 1) & int32(len(slots)-1)
	q.n--
	q.unacked--
	q.at = max(q.at-1, 0)
	q.unackedBytes -= it.Size()
	q.own = q.budget.Release(it, q.own)
	q.base++
	if q.n == 0 && len(slots) > keepRing {
		q.ring, q.head = nil, 0
	}
}

// Acknowledge forgets what has been written up to a number. It reports false if
// the number has never been written.
func (q *Queue) Acknowledge(number uint64) bool {
	if number > q.Sent() {
		return false
	}
	for q.base < number {
		q.Forget()
	}
	return true
}

// Trim forgets the oldest written messages until so many of so many bytes are
// left. What is still to be written again stays.
func (q *Queue) Trim(messages, bytes int) {
	for q.at == q.unacked && (int(q.unacked) > messages || q.unackedBytes > bytes) {
		q.Forget()
	}
}

// Rewind begins a new connection: what is not acknowledged is due again.
func (q *Queue) Rewind() { q.at = 0 }

// Clear forgets all messages.
func (q *Queue) Clear() {
	for i := range q.n {
		q.own = q.budget.Release(*q.slot(i), q.own)
	}
	*q = Queue{budget: q.budget, base: q.Sent()}
}
