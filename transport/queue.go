package transport

import "github.com/go-chime/chime/internal/wire"

// item is one entry of a client's queue: a shared message and what is this
// client's own in it.
type item struct {
	m  *wire.Message
	to string // the join_ref of a join that asked for positions
}

// queue is a ring of what waits to be written to one client. It holds nothing
// while it is empty for long: an idle client costs no ring.
type queue struct {
	ring  []item
	head  int
	n     int
	bytes int
}

const (
	minRing  = 4
	keepRing = 64 // a larger ring is given back when it runs empty
)

func (q *queue) push(it item) {
	if q.n == len(q.ring) {
		ring := make([]item, max(minRing, 2*len(q.ring)))
		for i := range q.n {
			ring[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
		}
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = it
	q.n++
	q.bytes += it.m.Size()
}

func (q *queue) pop() item {
	it := q.ring[q.head]
	q.ring[q.head] = item{} // the message must not outlive its last reader
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	q.bytes -= it.m.Size()
	if q.n == 0 && len(q.ring) > keepRing {
		*q = queue{}
	}
	return it
}

func (q *queue) clear() { *q = queue{} }
