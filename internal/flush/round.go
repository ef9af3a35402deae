package flush

import (
	"sync/atomic"

	"github.com/go-chime/chime/internal/mono"
)

// round is on the list of each flusher that runs. It is done when all have come to it.
type round struct {
	left atomic.Int32
	done chan struct{}
}

// Flush implements Connection.
func (t *round) Flush(f *Flusher, _ mono.Instant) { t.flush(f, false) }

func (t *round) flush(f *Flusher, again bool) {
	f.mu.Lock()
	waits := f.await(t, again)
	f.mu.Unlock()
	if !waits {
		t.less(1)
	}
}

// again is a round that has been on the list before.
type again struct{ *round }

// Flush implements Connection.
func (t again) Flush(f *Flusher, _ mono.Instant) { t.flush(f, true) }

func (t *round) less(n int32) {
	if t.left.Add(-n) == 0 {
		close(t.done)
	}
}

// BeginRound begins a round, and returns a channel that is closed when each connection
// that is on a list now has been flushed once, and the writes of goroutines that were
// under way are done, as far as they get done. It is nil if there are none.
func (fs Flushers) BeginRound() <-chan struct{} {
	t := &round{done: make(chan struct{})}
	t.left.Store(int32(len(fs)) + 1) // one is the caller's: not all may be done before all are counted
	idle := int32(0)
	for i := range fs {
		if !fs[i].join(t) {
			idle++
		}
	}
	if int(idle) == len(fs) {
		return nil
	}
	t.less(idle + 1)
	return t.done
}

// join has t wait for f, if there is anything to wait for.
func (f *Flusher) join(t *round) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running {
		f.list = append(f.list, t)
		return true
	}
	return f.await(t, false)
}
