package boltstore

import (
	"context"
	"sync"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
)

const (
	// queueBytes bounds what waits for a commit, and with it the size of one:
	// a caller waits for room before its operation does.
	queueBytes = 16 << 20
	opBytes    = 200 // what an operation takes beside its payload
)

// op is a change on its way to the file.
type op struct {
	change    func(*tree.Plan) error
	committed func() // called once the change is in the file, in the order of the commit
	size      int    // bytes of payload
	err       error  // of change
	done      chan error
}

// queue holds the operations that wait for the committer, in their order.
type queue struct {
	wake chan struct{} // there is something to take

	mu      sync.Mutex // guards the rest
	ops     []*op
	bytes   int
	room    chan struct{} // closed when ops has been taken; nil if nobody waits for that
	closed  bool
	refuses error // why nothing is taken in; nil: all is
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// do waits for room, and then for what becomes of o. ctx bounds only the former.
func (q *queue) do(ctx context.Context, o *op) error {
	o.done = make(chan error, 1)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		room, err := q.put(o)
		if err != nil {
			return err
		}
		if room == nil {
			return <-o.done
		}
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}

// put adds o, or returns what is closed when there may be room.
func (q *queue) put(o *op) (room <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return nil, store.ErrClosed
	case q.refuses != nil:
		return nil, q.refuses
	case q.bytes >= queueBytes:
		if q.room == nil {
			q.room = make(chan struct{})
		}
		return q.room, nil
	}
	q.ops = append(q.ops, o)
	if q.bytes += o.size + opBytes; len(q.ops) == 1 {
		q.rouse()
	}
	return nil, nil
}

func (q *queue) rouse() {
	select {
	case q.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// waiting returns how many operations take would return.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ops)
}

// take returns what waits, and whether nothing will follow.
func (q *queue) take() (ops []*op, last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ops = q.ops
	q.ops, q.bytes = nil, 0
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	return ops, q.closed
}

// refuse has all that is put from now on return err, and returns what waits. With nil
// all is taken in again.
func (q *queue) refuse(err error) []*op {
	q.mu.Lock()
	q.refuses = err
	q.mu.Unlock()
	ops, _ := q.take()
	return ops
}

// close has all that is put from now on return ErrClosed.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.rouse()
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
