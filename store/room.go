package store

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/store/internal/eviction"
)

const (
	defaultMaxBytes  = 256 << 20
	defaultMaxTopics = 100_000

	// What is taken beside texts and payloads, by a message and its place in a ring that is
	// half full, a key in a map, and a topic: measured, and rounded up.
	messageBytes = 240
	keyBytes     = 64
	topicBytes   = 600
)

// MemoryBound is a bound of [NewMemory].
type MemoryBound func(*room)

// MaxBytes bounds what all messages and topics of a [Memory] take: 256 MiB by default, 0
// or less is no bound. One topic has a part in sixteen at most: beyond that its oldest
// messages go. From fifteen parts in sixteen on topics go; at the bound Append returns
// [ErrFull].
//
// Of the topics whose names are the same up to the first colon, those go that have the
// most together: of these the topics with the fewest messages, among them those that
// were not appended to for the longest. Whatever was appended to within the last minute
// stays. A topic that went is not remembered. It is the rule of boltstore.
func MaxBytes(n int64) MemoryBound { return func(r *room) { r.mostBytes = n } }

// MaxTopics bounds how many topics a [Memory] knows, with messages or without: 100,000 by
// default, 0 or less is no bound. Topics go as at [MaxBytes]; at the bound an Append that
// begins one returns [ErrFull].
func MaxTopics(n int) MemoryBound { return func(r *room) { r.mostTopics = int64(n) } }

// room is what all topics of a Memory take, and may take.
type room struct {
	mostBytes, mostTopics int64
	bytes, topics         atomic.Int64

	making sync.Mutex   // held while topics go
	again  atomic.Int64 // when it makes sense to look for some, Unix nanoseconds
}

// bytesOf is what a message takes.
func bytesOf(m *Message) int64 {
	n := int64(messageBytes + len(m.Payload) + len(m.Event) + len(m.Key) + len(m.Sum))
	if m.Key != "" {
		n += keyBytes
	}
	return n
}

// full returns an error while there is no room for a message.
func (r *room) full() error {
	if n := r.bytes.Load(); r.mostBytes > 0 && n >= r.mostBytes {
		return fmt.Errorf("%w: %d bytes are in use, and at most %d are allowed", ErrFull, n, r.mostBytes)
	}
	return nil
}

// crowded returns an error while there is no room for one more topic.
func (r *room) crowded() error {
	if n := r.topics.Load(); r.mostTopics > 0 && n >= r.mostTopics {
		return fmt.Errorf("%w: %d topics are known, and at most %d are allowed", ErrFull, n, r.mostTopics)
	}
	return nil
}

// short reports whether something is refused.
func (r *room) short() bool { return r.full() != nil || r.crowded() != nil }

// admit counts one more topic, if there is room for it. Memory.mu is held.
func (r *room) admit(name string) error {
	if err := r.crowded(); err != nil {
		return err
	}
	r.topics.Add(1)
	r.bytes.Add(int64(topicBytes + len(name)))
	return nil
}

// leave counts one less.
func (r *room) leave(name string) {
	r.topics.Add(-1)
	r.bytes.Add(-int64(topicBytes + len(name)))
}

// over reports whether a topic has more than its share.
func (r *room) over(size int64) bool {
	return r.mostBytes > 0 && size > r.mostBytes/eviction.Share
}

// need returns for how much room has to be made, in bytes or in topics.
func (r *room) need() (bytes bool, n uint64) {
	if n = eviction.Need(r.bytes.Load(), r.mostBytes); n > 0 {
		return true, n
	}
	return false, eviction.Need(r.topics.Load(), r.mostTopics)
}

// makeRoom has topics go, unless another Append is about to. It looks at all topics, one
// at a time, without holding the store: the more there are, the more go at one time.
func (s *Memory) makeRoom(now time.Time) {
	if now.UnixNano() < s.room.again.Load() || !s.room.making.TryLock() {
		return
	}
	defer s.room.making.Unlock()
	bytes, need := s.room.need()
	if need == 0 {
		return
	}
	survey, went := s.survey(bytes, now), false
	for need > 0 {
		c, ok := survey.Next()
		if !ok {
			break
		}
		if s.evict(c) {
			need -= min(need, survey.Weight(&c))
			went = true
		}
	}
	if need > 0 { // nothing more may go
		wait := time.Second
		if !went {
			wait = eviction.Settled
		}
		s.room.again.Store(now.Add(wait).UnixNano())
	}
}

// survey looks at all topics.
func (s *Memory) survey(bytes bool, now time.Time) *eviction.Survey {
	s.mu.RLock()
	list := slices.Clone(s.order)
	s.mu.RUnlock()
	groups := map[string][]*topic{}
	for _, t := range list {
		g := eviction.Group(t.name)
		groups[g] = append(groups[g], t)
	}
	survey := eviction.NewSurvey(bytes)
	for _, group := range groups {
		for _, t := range group {
			t.mu.Lock()
			survey.Add(eviction.Topic{
				Name: t.name, Top: t.top, Messages: uint64(t.messages.n), Bytes: uint64(t.size + topicBytes), Used: t.used.UnixNano(),
			}, now.UnixNano())
			t.unlock()
		}
	}
	survey.End()
	return survey
}

// evict has a topic go, unless it was appended to since it was looked at.
func (s *Memory) evict(c eviction.Topic) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[c.Name]
	if t == nil || !t.mu.TryLock() { // locked it is in use
		return false
	}
	defer t.unlock()
	if t.top != c.Top {
		return false
	}
	s.remove(t)
	return true
}

// Health returns nil as long as the store takes messages and topics, and else [ErrFull].
func (s *Memory) Health() error {
	if err := s.room.full(); err != nil {
		return err
	}
	return s.room.crowded()
}

// Stats returns what is taken, and what may be.
func (s *Memory) Stats() Stats {
	return Stats{
		Bytes: s.room.bytes.Load(), MaxBytes: max(s.room.mostBytes, 0),
		Topics: s.room.topics.Load(), MaxTopics: max(s.room.mostTopics, 0),
	}
}
