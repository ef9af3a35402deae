package fanout

import (
	"container/list"
	"sync"
)

// Budget bounds what the tails of all topics take together: a client in many
// topics, or many topics with few messages each, must not fill the memory with
// what nobody asks for again. The topic that was not used for longest gives first.
type Budget struct {
	max int // bytes

	mu    sync.Mutex // guards the rest; taken with a topic's lock held, and no other after it
	bytes int
	use   list.List // *feed, of those that take something; the one used last at the front
}

// share is what one topic takes, and its place among the others.
type share struct {
	bytes int
	place *list.Element // nil if it takes nothing
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int) *Budget { return &Budget{max: bytes} }

// Bytes is what all tails take, about.
func (b *Budget) Bytes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// charge notes what the tail of f takes now that it was used. The topic's lock is held.
func (b *Budget) charge(f *feed) {
	if b.note(f, f.tail.size) {
		b.evict(f)
	}
}

func (b *Budget) note(f *feed, bytes int) (over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &f.share
	b.bytes += bytes - s.bytes
	s.bytes = bytes
	switch {
	case s.place != nil && bytes > 0:
		b.use.MoveToFront(s.place)
	case s.place != nil:
		b.use.Remove(s.place)
		s.place = nil
	case bytes > 0:
		s.place = b.use.PushFront(f)
	}
	return b.bytes > b.max
}

// evict drops tails, but that of f, until there is room. One whose topic is in
// use stays for now: its lock can't be waited for with that of f held, and it
// will be charged itself.
func (b *Budget) evict(f *feed) {
	for {
		other := b.oldest()
		if other == nil || other == f || !other.mu.TryLock() {
			return
		}
		other.tail.drop()
		b.note(other, 0)
		other.mu.Unlock()
	}
}

// oldest returns what gives next, or nil if there is room.
func (b *Budget) oldest() *feed {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := b.use.Back(); last != nil && b.bytes > b.max {
		return last.Value.(*feed)
	}
	return nil
}
