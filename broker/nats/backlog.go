package nats

import (
	"sync"
	"time"

	"github.com/go-chime/chime/store"
)

// backlog is the work that waits to be done in the background: what readers leave out already
// is to be deleted.
type backlog struct {
	mu     sync.Mutex // guards the rest
	topics map[string]store.Retention
	again  map[erasure]time.Time // erased by another node, which may have ended before it deleted it
}

const (
	maxTrims   = 4096            // topics that wait; others are trimmed after their next messages
	secondLook = 2 * time.Second // until it is looked whether another node has deleted what it erased
)

func (b *backlog) add(topic string, keep store.Retention) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.topics == nil {
		b.topics = map[string]store.Retention{}
	}
	if len(b.topics) < maxTrims {
		b.topics[topic] = keep
	}
}

// repeat has it seen to that a message is deleted.
func (b *backlog) repeat(epoch, topic string, offset uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.again == nil {
		b.again = map[erasure]time.Time{}
	}
	one := erasure{epoch, topic, offset}
	if _, known := b.again[one]; !known && len(b.again) < maxErased {
		b.again[one] = time.Now().Add(secondLook)
	}
}

// take returns what is to be done now.
func (b *backlog) take() (topics map[string]store.Retention, again []erasure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	topics, b.topics = b.topics, nil
	for one, at := range b.again {
		if !time.Now().Before(at) {
			again = append(again, one)
			delete(b.again, one)
		}
	}
	return topics, again
}
