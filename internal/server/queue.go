package server

import "github.com/go-chime/chime/internal/wire"

// item is one entry of a client's queue: a shared message and what is this
// client's own in it.
type item struct {
	m  *wire.Message
	to string // the join_ref of a join that asked for positions
}

// size is what it counts for, against the limits of a queue.
func (it item) size() int { return it.m.Size() + len(it.to) }

// queue is a ring of messages for one client: the oldest have been written and
// may have to be written again, the others wait for their first time. Few
// messages fit into the queue itself; more than that get a ring of their own.
type queue struct {
	first   [minRing]item
	ring    []item // nil while first is the ring
	head    int
	n       int
	unacked int    // of the n, the oldest: written, on this connection or a former one
	at      int    // of these, written on this connection
	bytes   int    // of those that have never been written
	held    int    // bytes of the unacked ones
	base    uint64 // the number of the last counted message that is forgotten
}

// Sizes of rings are powers of two.
const (
	minRing  = 4
	keepRing = 16 // a larger ring is given back when it runs empty
)

func (q *queue) slots() []item {
	if q.ring == nil {
		return q.first[:]
	}
	return q.ring
}

func (q *queue) push(it item) {
	slots := q.slots()
	if q.n == len(slots) {
		ring := make([]item, 2*len(slots))
		for i := range q.n {
			ring[i] = slots[(q.head+i)&(len(slots)-1)]
		}
		clear(slots)
		q.ring, q.head = ring, 0
		slots = ring
	}
	slots[(q.head+q.n)&(len(slots)-1)] = it
	q.n++
	q.bytes += it.size()
}

// waiting returns how many messages have never been written.
func (q *queue) waiting() int { return q.n - q.unacked }

// due returns how many messages are to be written on this connection.
func (q *queue) due() int { return q.n - q.at }

// sent returns the number of the last counted message that has been written.
func (q *queue) sent() uint64 { return q.base + uint64(q.unacked) }

// next returns the oldest message that is due and its number, and keeps it.
func (q *queue) next() (item, uint64) {
	slots := q.slots()
	it := slots[(q.head+q.at)&(len(slots)-1)]
	q.at++
	if q.at > q.unacked {
		q.unacked = q.at
		size := it.size()
		q.bytes -= size
		q.held += size
	}
	return it, q.base + uint64(q.at)
}

// forget drops the oldest message, which has been written.
func (q *queue) forget() {
	slots := q.slots()
	it := slots[q.head]
	slots[q.head] = item{} // the message must not outlive its last reader
	q.head = (q.head + 1) & (len(slots) - 1)
	q.n--
	q.unacked--
	q.at = max(q.at-1, 0)
	q.held -= it.size()
	if it.m.Counted() {
		q.base++
	}
	if q.n == 0 && len(slots) > keepRing {
		q.ring, q.head = nil, 0
	}
}

// acknowledge forgets what has been written up to a number. It reports false if
// the number has never been written.
func (q *queue) acknowledge(number uint64) bool {
	if number > q.sent() {
		return false
	}
	for q.base < number {
		q.forget()
	}
	return true
}

// trim forgets the oldest written messages until so many of so many bytes are
// left. What is still to be written again stays.
func (q *queue) trim(messages, bytes int) {
	for q.at == q.unacked && (q.unacked > messages || q.held > bytes) {
		q.forget()
	}
}

// rewind begins a new connection: what is not acknowledged is due again.
func (q *queue) rewind() { q.at = 0 }

// clear forgets all messages.
func (q *queue) clear() { *q = queue{base: q.sent()} }
