package local

import (
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// maxSpare is the largest list that is used again: a burst is rare.
const maxSpare = 64

// order announces what is published in one topic in the order in which it was
// appended. The goroutine that appends only adds to a list; whichever publisher
// comes first announces the list, for the others too. It knows no store.
type order struct {
	sink broker.Sink

	announcing sync.Mutex // held while the list is announced; taken before mu

	mu      sync.Mutex // guards what follows
	waiting []broker.Publication
	closed  bool // nothing is announced any more

	spare []broker.Publication // guarded by announcing: a list that is used again
}

// add puts p behind what is to be announced. It does not block.
func (o *order) add(p broker.Publication) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.waiting = append(o.waiting, p)
	}
}

// close ends the announcements, after one that goes on. What waits is in the
// history that the next subscriber reads: announced to that one, it could come
// after it was erased.
func (o *order) close() {
	o.announcing.Lock()
	defer o.announcing.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.waiting = true, nil
}

// announce returns when all that was added before the call has been announced.
func (o *order) announce() {
	o.announcing.Lock()
	defer o.announcing.Unlock()
	o.drain()
}

// erase tells the sink what was erased, after what was appended before that.
func (o *order) erase(topic string, at store.Position) {
	o.announcing.Lock()
	defer o.announcing.Unlock()
	o.drain()
	o.sink.Erased(topic, at)
}

// drain announces the list. o.announcing is held.
func (o *order) drain() {
	o.mu.Lock()
	list := o.waiting
	o.waiting = o.spare[:0]
	o.mu.Unlock()
	for i, p := range list {
		list[i] = broker.Publication{} // its payload must not outlive it
		o.sink.Published(p)
	}
	if o.spare = list[:0]; cap(list) > maxSpare {
		o.spare = nil
	}
}
