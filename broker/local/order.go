package local

import (
	"sync"

	"github.com/go-chime/chime/broker"
)

// order announces what is published in one topic in the order in which it was
// appended. The goroutine that appends only adds to a list; whichever publisher
// comes first announces the list, for the others too. It knows no store.
type order struct {
	sink broker.Sink

	announcing sync.Mutex // held while the list is announced; taken before mu

	mu      sync.Mutex // guards waiting
	waiting []broker.Publication
}

// add puts p behind what is to be announced. It does not block.
func (o *order) add(p broker.Publication) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = append(o.waiting, p)
}

// announce returns when all that was added before the call has been announced.
func (o *order) announce() {
	o.announcing.Lock()
	defer o.announcing.Unlock()
	o.drain()
}

// erase tells the sink what was erased, after what was appended before that.
func (o *order) erase(topic string, offset uint64) {
	o.announcing.Lock()
	defer o.announcing.Unlock()
	o.drain()
	o.sink.Erased(topic, offset)
}

// drain announces the list. o.announcing is held.
func (o *order) drain() {
	o.mu.Lock()
	list := o.waiting
	o.waiting = nil
	o.mu.Unlock()
	for _, p := range list {
		o.sink.Published(p)
	}
}
