package local

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

const (
	// maxSpare is the largest list that is used again: a burst is rare.
	maxSpare = 64
	// maxAdmitted is how many bytes of one topic are published at one time. More
	// publishers wait, first come, first served.
	maxAdmitted = 512 << 10
	// perMessage is what a message counts besides its payload.
	perMessage = 128
)

// order announces what is published in one topic in the order in which it was
// appended. The goroutine that appends only adds to a list; whichever publisher
// comes first announces the list, for the others too. It knows no store.
type order struct {
	sink     broker.Sink
	admitted *semaphore.Weighted

	announcing sync.Mutex // held while the list is announced; taken before mu

	mu      sync.Mutex // guards what follows
	waiting []broker.Publication
	closed  bool // nothing is announced any more

	spare []broker.Publication // guarded by announcing: a list that is used again
}

func newOrder(sink broker.Sink) *order {
	return &order{sink: sink, admitted: semaphore.NewWeighted(maxAdmitted)}
}

// admit waits until a payload of so many bytes may be published, or ctx ends. What
// it returns must be released.
func (o *order) admit(ctx context.Context, payload int) (int64, error) {
	size := min(int64(payload)+perMessage, maxAdmitted)
	if err := o.admitted.Acquire(ctx, size); err != nil {
		return 0, context.Cause(ctx)
	}
	return size, nil
}

// add puts p behind what is to be announced, unless nothing is any more. It does not block.
func (o *order) add(p *broker.Publication) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.waiting = append(o.waiting, *p)
	}
	return !o.closed
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
	for i := range list {
		p := &list[i]
		if p.Erases != 0 {
			o.sink.Erased(p.Topic, erased(p))
		}
		o.sink.Published(*p)
		*p = broker.Publication{} // its payload must not outlive it
	}
	if o.spare = list[:0]; cap(list) > maxSpare {
		o.spare = nil
	}
}

// erased is where a sink looks for what p erases.
func erased(p *broker.Publication) store.Position {
	at := store.Position{Epoch: p.Epoch, Offset: p.Erases}
	if at.Offset == store.All {
		at.Offset = 0
	}
	return at
}
