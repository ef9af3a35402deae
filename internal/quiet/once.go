package quiet

import "sync"

// maxOnce bounds what a Once remembers.
const maxOnce = 64

// Once remembers what has been named in a log, where any client can bring up something
// new. The zero value remembers nothing yet.
type Once[K comparable] struct {
	mu    sync.Mutex // guards known
	known map[K]struct{}
}

// Add reports whether k is new, and whether there was room to remember it.
func (o *Once[K]) Add(k K) (first, kept bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.known[k]; known {
		return false, true
	}
	if o.known == nil {
		o.known = map[K]struct{}{}
	}
	if len(o.known) >= maxOnce {
		return true, false
	}
	o.known[k] = struct{}{}
	return true, true
}
