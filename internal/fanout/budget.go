package fanout

import "sync"

// Budget bounds what the tails of all topics take together: a client in many
// topics, or many topics with few messages each, must not fill the memory with
// what nobody asks for again. The topic that was not used for longest gives first.
type Budget struct {
	max int // bytes

	mu     sync.Mutex // guards the rest; taken with a topic's lock held, and no other after it
	bytes  int
	newest *share
	oldest *share
}

// share is what one topic takes, and its place among the others.
type share struct {
	topic *Topic
	bytes int
	newer *share
	older *share
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int) *Budget { return &Budget{max: bytes} }

// Bytes is what all tails take, about.
func (b *Budget) Bytes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// charge notes what the tail of t takes now that it was used. t.mu is held.
func (b *Budget) charge(t *Topic) {
	if b.note(t, t.tail.size) {
		b.evict(t)
	}
}

func (b *Budget) note(t *Topic, bytes int) (over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &t.share
	b.bytes += bytes - s.bytes
	s.bytes = bytes
	b.unlink(s)
	if bytes > 0 {
		s.topic, s.older = t, b.newest
		if b.newest != nil {
			b.newest.newer = s
		} else {
			b.oldest = s
		}
		b.newest = s
	}
	return b.bytes > b.max
}

// evict drops tails, but that of t, until there is room. One whose topic is in
// use stays for now: its lock can't be waited for with that of t held, and it
// will be charged itself.
func (b *Budget) evict(t *Topic) {
	for {
		b.mu.Lock()
		s := b.oldest
		enough := b.bytes <= b.max || s == nil || s.topic == t
		var other *Topic
		if !enough {
			other = s.topic
		}
		b.mu.Unlock()
		if enough || !other.mu.TryLock() {
			return
		}
		other.tail.drop()
		b.note(other, 0)
		other.mu.Unlock()
	}
}

// unlink takes s out of the order of use. b.mu is held.
func (b *Budget) unlink(s *share) {
	if s.newer != nil {
		s.newer.older = s.older
	} else if b.newest == s {
		b.newest = s.older
	}
	if s.older != nil {
		s.older.newer = s.newer
	} else if b.oldest == s {
		b.oldest = s.newer
	}
	s.newer, s.older = nil, nil
}
