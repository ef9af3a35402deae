package queue

import (
	"sync/atomic"

	"github.com/go-chime/chime/internal/wire"
)

const (
	// largeMessage is the size beyond which a message counts once, however many
	// queues hold it. A smaller one counts for each, which costs no shared counter.
	largeMessage = 1 << 10
	// step is what the small messages of a queue count in: most queues are empty
	// again before they reach the first.
	step = 64 << 10
	// forms is what a message takes of its size: as it came, and encoded.
	forms = 2
	// portion is the part of what is left that one queue may have.
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

// Share returns how many bytes may wait in one queue, which is never to have more
// than most.
func (b *Budget) Share(most int) int { return min(most, b.Left()/portion) }

// hold counts m, which a queue begins to hold with so many bytes of small messages,
// and returns how many it has then.
func (b *Budget) hold(m *wire.Message, size, small int) int {
	if b == nil {
		return small
	}
	if size > largeMessage {
		if m.Hold() {
			b.taken.Add(int64(forms * size))
		}
		return small
	}
	b.taken.Add(int64(steps(small+size) - steps(small)))
	return small + size
}

// release ends what hold began.
func (b *Budget) release(m *wire.Message, size, small int) int {
	if b == nil {
		return small
	}
	if size > largeMessage {
		if m.Release() {
			b.taken.Add(-int64(forms * size))
		}
		return small
	}
	b.taken.Add(-int64(steps(small) - steps(small-size)))
	return small - size
}

func steps(small int) int { return small / step * step }
