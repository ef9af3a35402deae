package boltstore

import (
	"sync"
	"time"

	"github.com/go-chime/chime/store"
)

// meter has the numbers of a store, for those who ask while the committer works.
type meter struct {
	mu    sync.Mutex // guards stats
	stats store.Stats
}

// commits counts a commit that took so long.
func (m *meter) commits(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Commits++
	m.stats.CommitTime += took
}

// holds takes note of what a store has.
func (m *meter) holds(b *bounds) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Bytes, m.stats.Topics = b.used, b.known
	m.stats.MaxBytes, m.stats.MaxTopics = max(b.bytes, 0), max(b.topics, 0)
}

func (m *meter) read() store.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}
