package channel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Bounds of drafts. What they have is in memory only.
const (
	maxDraftBytes = 256 << 10 // of the text of one, as JSON has it
	maxDrafts     = 16        // in one topic
	maxAllDrafts  = 64 << 20  // bytes of all
	perDraft      = 4 << 10   // what one counts besides its payload and text
)

var errShutDown = errors.New("shutting down")

// drafts are those of a hub, by their IDs.
type drafts struct {
	mu     sync.Mutex // guards what follows
	list   map[string]*Draft
	topics map[string]int // how many each has
	bytes  int
	closed bool
}

// base is what d counts before it has any text. Its payload is held for the members, and for
// its message.
func (d *Draft) base() int { return perDraft + 2*d.given }

// add adds d, if there is room for one more.
func (ds *drafts) add(d *Draft) error {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	switch n := ds.topics[d.topic]; {
	case ds.closed:
		return errShutDown
	case n >= maxDrafts:
		return fmt.Errorf("the topic has %d: %w", n, ErrDraftFull)
	case ds.bytes+d.base() > maxAllDrafts:
		return fmt.Errorf("all drafts have %d bytes: %w", ds.bytes, ErrDraftFull)
	}
	if ds.list == nil {
		ds.list, ds.topics = map[string]*Draft{}, map[string]int{}
	}
	ds.list[d.id] = d
	ds.topics[d.topic]++
	ds.bytes += d.base()
	return nil
}

// take reports whether there is room for so many bytes more.
func (ds *drafts) take(n int) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.bytes+n > maxAllDrafts {
		return false
	}
	ds.bytes += n
	return true
}

// remove takes out d, whose size does not change any more.
func (ds *drafts) remove(d *Draft) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	delete(ds.list, d.id)
	if ds.topics[d.topic]--; ds.topics[d.topic] == 0 {
		delete(ds.topics, d.topic)
	}
	ds.bytes -= d.base() + d.size
}

// find returns a draft, or nil.
func (ds *drafts) find(id string) *Draft {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return ds.list[id]
}

// stop stops a draft, and reports whether there is one.
func (ds *drafts) stop(topic, id string) bool {
	d := ds.find(id)
	if d == nil || d.topic != topic {
		return false
	}
	d.cancel(ErrDraftOver)
	return true
}

// close refuses new drafts, and stops those that there are.
func (ds *drafts) close() {
	ds.mu.Lock()
	ds.closed = true
	ds.mu.Unlock()
	for _, d := range ds.all() { // a context calls what depends on it
		d.cancel(ErrDraftOver)
	}
}

func (ds *drafts) all() []*Draft {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return slices.Collect(maps.Values(ds.list))
}
