package nats

import (
	"sync"
	"time"
)

// A server that is behind the leader may still have what was erased, for a moment. Nodes leave
// out what they know to be.
const (
	rememberErased = time.Minute
	maxErased      = 10_000
)

// erasures are the messages that were erased of late.
type erasures struct {
	mu    sync.Mutex // guards the rest
	known map[erasure]struct{}
	order []timed
}

type erasure struct {
	epoch, topic string
	offset       uint64
}

type timed struct {
	erasure
	at time.Time
}

func (e *erasures) add(epoch, topic string, offset uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known == nil {
		e.known = map[erasure]struct{}{}
	}
	now := time.Now()
	for len(e.order) > 0 && (now.Sub(e.order[0].at) > rememberErased || len(e.order) >= maxErased) {
		delete(e.known, e.order[0].erasure)
		e.order = e.order[1:]
	}
	one := erasure{epoch, topic, offset}
	if _, twice := e.known[one]; !twice {
		e.known[one] = struct{}{}
		e.order = append(e.order, timed{one, now})
	}
}

func (e *erasures) has(epoch, topic string, offset uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, known := e.known[erasure{epoch, topic, offset}]
	return known
}
