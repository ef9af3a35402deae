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
func (t *round) Flush(*Flusher, mono.Instant) { t.less(1) }

func (t *round) less(n int32) {
	if t.left.Add(-n) == 0 {
		close(t.done)
	}
}

// Round returns a channel that is closed when each connection which is on a list now
// has been flushed once. It is nil if none is.
func (fs Flushers) Round() <-chan struct{} {
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

// join puts t on the list, if f runs.
func (f *Flusher) join(t *round) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running {
		f.list = append(f.list, t)
	}
	return f.running
}
