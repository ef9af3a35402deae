package transport

import "github.com/go-chime/chime/internal/wire"

// item is one entry of a client's queue: a shared message and what is this
// client's own in it.
type item struct {
	m  *wire.Message
	to string // the join_ref of a join that asked for positions
}

// queue is a ring of what waits to be written to one client. Few messages fit
// into the queue itself; more than that get a ring of their own.
type queue struct {
	first [minRing]item
	ring  []item // nil while first is the ring
	head  int
	n     int
	bytes int
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
	q.bytes += it.m.Size()
}

func (q *queue) pop() item {
	slots := q.slots()
	it := slots[q.head]
	slots[q.head] = item{} // the message must not outlive its last reader
	q.head = (q.head + 1) & (len(slots) - 1)
	q.n--
	q.bytes -= it.m.Size()
	if q.n == 0 && len(slots) > keepRing {
		q.ring, q.head = nil, 0
	}
	return it
}

func (q *queue) clear() { *q = queue{} }
