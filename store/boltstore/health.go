package boltstore

import "sync"

// health is what is refused, for those who ask while the committer works.
type health struct {
	mu  sync.Mutex // guards why
	why error      // nil: nothing is
}

func (h *health) is(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.why = why
}

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.why
}
