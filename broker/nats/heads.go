package nats

import (
	"sync"

	"github.com/go-chime/chime/store"
)

const (
	// maxHeads is of how many topics a node remembers where they are.
	maxHeads = 32 << 10
	// stride is how many messages a mark is apart from the next. Most reads want the newest
	// 64, and begin at the mark before the last.
	stride = 64
)

// heads are where topics are, as far as this node knows. What it believes may be old: it
// makes reading and publishing faster, and is never relied on.
type heads struct {
	mu    sync.Mutex // guards known
	known map[string]*head
}

// head is that of one topic.
type head struct {
	first sync.Mutex // held while the first message of the topic may be published

	mu        sync.Mutex // guards the rest
	begun     bool       // the topic has messages
	last      uint64     // the highest offset that was seen
	marks     [2]uint64  // some offsets, stride messages apart, the newer one last
	since     int        // messages since then
	untrimmed int        // messages published since the topic was trimmed
}

// of returns that of a topic, made if there is none.
func (h *heads) of(topic string) *head {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil {
		h.known = map[string]*head{}
	}
	one := h.known[topic]
	if one == nil {
		for other := range h.known { // any: the next message finds out again
			if len(h.known) < maxHeads {
				break
			}
			delete(h.known, other)
		}
		one = &head{}
		h.known[topic] = one
	}
	return one
}

// peek returns that of a topic, nil if there is none.
func (h *heads) peek(topic string) *head {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known[topic]
}

// clear forgets all: a stream was made anew.
func (h *heads) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = nil
}

// saw takes note of a message, which may have been seen before.
func (h *head) saw(offset uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun = true
	if offset <= h.last {
		return
	}
	h.last = offset
	if h.since++; h.since >= stride {
		h.marks, h.since = [2]uint64{h.marks[1], offset}, 0
	}
}

func (h *head) isBegun() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.begun
}

func (h *head) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun = true
}

// back is where there are more than stride messages behind, 0 if that is not known.
func (h *head) back() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.marks[0]
}

func (h *head) top() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// due reports whether the topic should be trimmed now.
func (h *head) due(keep store.Retention) bool {
	if keep.Keep <= 0 && keep.Age <= 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.untrimmed++; h.untrimmed < max(stride, keep.Keep/4) {
		return false
	}
	h.untrimmed = 0
	return true
}
