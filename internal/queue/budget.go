package queue

import "sync/atomic"

const (
	// largeMessage is the size beyond which a message counts once, however many
	// queues hold it. A smaller one counts for each, which costs no shared counter.
	largeMessage = 1 << 10
	// step is what the small messages of a queue count in: most queues are empty
	// again before they reach the first.
	step = 64 << 10
	// forms is what a message takes of its size: as it came, and encoded.
	forms = 2
	// portion is the part of what is left of half the budget that one queue may have.
	// The other half is for those whose share nobody asks.
	portion = 4
)

// Budget bounds what the queues of a server hold together. No queue may have more
// than a portion of what is left, so the bound is met before it is reached, and by
// the longest queues first (Choudhury and Hahne, dynamic queue length thresholds,
// 1998). A nil Budget has no bound. It is safe for concurrent use.
type Budget struct {
	bytes int64
	taken atomic.Int64
}

// NewBudget returns a Budget of so many bytes.
func NewBudget(bytes int) *Budget { return &Budget{bytes: int64(bytes)} }

// Taken returns how many bytes all queues hold, about.
func (b *Budget) Taken() int { return int(b.taken.Load()) }

// Left returns how many bytes all queues may still take.
func (b *Budget) Left() int { return int(max(0, b.bytes-b.taken.Load())) }

// Share returns how many bytes may wait in one queue of a client that does not read,
// which is never to have more than most. However many such queues there are, they
// leave half of the budget to others.
func (b *Budget) Share(most int) int {
	return min(most, int(max(0, b.bytes/2-b.taken.Load()))/portion)
}

// Hold counts what a queue begins to hold that has so many bytes of its own, and
// returns how many it has then. Release has to follow.
func (b *Budget) Hold(it Item, own int) int {
	if b == nil {
		return own
	}
	shared, more := it.parts()
	if shared > 0 && it.M.Hold() {
		b.taken.Add(int64(forms * shared))
	}
	b.taken.Add(int64(steps(own+more) - steps(own)))
	return own + more
}

// Release ends what Hold began.
func (b *Budget) Release(it Item, own int) int {
	if b == nil {
		return own
	}
	shared, less := it.parts()
	if shared > 0 && it.M.Release() {
		b.taken.Add(-int64(forms * shared))
	}
	b.taken.Add(-int64(steps(own) - steps(own-less)))
	return own - less
}

// parts returns how many bytes of an item count once, however many queues hold the
// message, and how many count in each. What is one queue's own must not be in the
// former: the queue that holds a message first is not the one that releases it last.
func (it Item) parts() (shared, own int) {
	if size := it.M.Size(); size > largeMessage {
		return size, len(it.To)
	}
	return 0, it.Size()
}

func steps(own int) int { return own / step * step }
