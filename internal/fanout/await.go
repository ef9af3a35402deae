package fanout

import (
	"context"
	"slices"
	"time"

	"github.com/go-chime/chime/store"
)

// awaitFor is how long an announcement is waited for: it is on its way, or lost.
const awaitFor = time.Second

// waits are those who wait until something is announced. They are guarded by the topic's
// lock.
type waits []waiting

type waiting struct {
	offset uint64
	done   chan struct{} // closed when it is
}

// release ends the waits up to an offset.
func (ws *waits) release(top uint64) {
	if len(*ws) == 0 {
		return
	}
	*ws = slices.DeleteFunc(*ws, func(w waiting) bool {
		if w.offset <= top {
			close(w.done)
		}
		return w.offset <= top
	})
}

// Await returns when what was published at a position has been queued for the members, as
// far as this node was told: a broker of several nodes announces it behind the back of who
// published it. It waits for a second at most, and not for what nobody here is sent.
func Await(ctx context.Context, t *Topic, at store.Position) {
	if t.feed == nil {
		return
	}
	if done := t.feed.await(at); done != nil && !within(ctx, done) {
		t.feed.forget(done)
	}
}

// within reports whether done is closed in the time in which an announcement comes that is not lost.
func within(ctx context.Context, done <-chan struct{}) bool {
	timer := time.NewTimer(awaitFor)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// await returns what is closed when a position is reached; nil if nobody has to wait. It takes
// the topic's lock.
func (f *feed) await(at store.Position) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || !f.tail.expects(at) {
		return nil
	}
	done := make(chan struct{})
	f.waits = append(f.waits, waiting{at.Offset, done})
	return done
}

// forget takes out a wait that is over. It takes the topic's lock.
func (f *feed) forget(done chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits = slices.DeleteFunc(f.waits, func(w waiting) bool { return w.done == done })
}
