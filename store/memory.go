package store

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Clients come back after a holiday. Until then a topic that is empty still
	// knows whether they missed anything, for some 200 bytes.
	remembered = 30 * 24 * time.Hour

	// Other topics that an Append looks at. One would keep up with topics that
	// are begun and left; two also overtakes a past in which there were more.
	sweepStep = 2
)

// Memory is a [Store] in memory: what it keeps is gone with the process, and
// with it the epoch. Its methods never block for longer than announcements take.
// It runs no goroutine: appending looks after the room that other topics take
// up, so aged messages are freed only as long as something is appended.
//
// All topics together are bounded, see [MaxBytes] and [MaxTopics]; where nothing may go,
// Append returns [ErrFull].
type Memory struct {
	epoch  string
	seq    atomic.Uint64 // the last offset given; moved on with the topic locked, or offsets could pass each other
	cursor atomic.Uint64 // where in order the sweep is
	room   room

	mu      sync.RWMutex // guards the rest. Never taken while a topic is locked.
	closed  bool
	topics  map[string]*topic
	order   []*topic // the same topics, for the sweep
	horizon uint64   // no topic that was dropped had an offset beyond it
}

var _ Store = (*Memory)(nil)

// topic is what Memory knows of one topic.
type topic struct {
	name  string
	index int // in Memory.order, guarded by Memory.mu

	mu       sync.Mutex // guards the rest
	dropped  bool       // no longer in Memory.topics: an append must look it up again
	messages ring
	keys     map[string]uint64 // the offset of each message that has one; nil: none has
	top      uint64            // the last offset given in this topic
	floor    uint64            // the highest that was trimmed, aged or forgotten; from since on
	since    uint64            // nothing is known of this topic up to here
	keep     Retention         // of the last Append
	used     time.Time         // when that was
	size     int64             // bytes that the messages take
	owes     int64             // of these, those that room does not know of yet
	room     *room
}

// NewMemory returns an empty store with an epoch of its own. The zero Memory
// has none, and cannot be used.
func NewMemory(bounds ...MemoryBound) *Memory {
	var b [16]byte
	_, _ = rand.Read(b[:]) // ends the program rather than fail
	s := &Memory{epoch: base64.RawURLEncoding.EncodeToString(b[:]), topics: map[string]*topic{}}
	s.room.mostBytes, s.room.mostTopics = defaultMaxBytes, defaultMaxTopics
	for _, bound := range bounds {
		bound(&s.room)
	}
	return s
}

// Epoch implements [Store]: 128 random bits.
func (s *Memory) Epoch() string { return s.epoch }

// Append implements [Store].
func (s *Memory) Append(ctx context.Context, topic string, m Message, keep Retention, announce func(Message)) (uint64, error) {
	now := clock()
	if err := m.CheckOnce(); err != nil {
		return 0, fmt.Errorf("append to %q: %w", topic, err)
	}
	if s.room.short() {
		s.makeRoom(now)
	}
	t, err := s.claim(ctx, topic, now, m.Erases == 0)
	if err != nil {
		return 0, fmt.Errorf("append to %q: %w", topic, err)
	}
	defer s.sweep(now) // after the unlock: it takes s.mu
	defer t.unlock()

	t.trim(now) // by the old retention: what has aged must not come back when the new one is longer
	if offset, ok := t.keys[m.Key]; ok {
		if !t.messages.at(t.messages.after(offset) - 1).Says(&m) {
			return 0, fmt.Errorf("append to %q: %w, at offset %d", topic, ErrKeyReused, offset)
		}
		return offset, nil
	}
	if err := s.room.full(); err != nil && m.Erases == 0 {
		return 0, fmt.Errorf("append to %q: %w", topic, err)
	}
	if m.Erases != 0 && !t.erase(m.Erases) {
		return 0, fmt.Errorf("append to %q: erase %d: %w", topic, m.Erases, ErrNotFound)
	}
	if m.At = m.At.Round(0); m.At.IsZero() || m.At.After(now) {
		m.At = now
	}
	if n := t.messages.n; n > 0 && m.At.Before(t.messages.at(n-1).At) {
		m.At = t.messages.at(n - 1).At // trim stops at the first that is young enough
	}
	m.Offset, m.Prev = s.seq.Add(1), t.top
	t.push(&m)
	t.top, t.keep, t.used = m.Offset, keep, now
	t.trim(now)
	if announce != nil {
		announce(m)
	}
	return m.Offset, nil
}

// Read implements [Store]. It takes a time that grows with what it returns, and
// with the logarithm of what is kept.
func (s *Memory) Read(ctx context.Context, topic string, r Range) (Page, error) {
	t, err := s.find(ctx, topic)
	if err != nil {
		return Page{}, fmt.Errorf("read %q: %w", topic, err)
	}
	defer t.unlock()
	t.trim(clock())
	p := t.page(r)
	p.Epoch = s.epoch
	return p, nil
}

// Forget implements [Store].
func (s *Memory) Forget(ctx context.Context, topic string) error {
	t, err := s.find(ctx, topic)
	if err != nil {
		return fmt.Errorf("forget %q: %w", topic, err)
	}
	defer t.unlock()
	t.erase(All)
	return nil
}

// Redact implements [Store].
func (s *Memory) Redact(ctx context.Context, topic string, offset uint64) error {
	t, err := s.find(ctx, topic)
	if err != nil {
		return fmt.Errorf("redact %d of %q: %w", offset, topic, err)
	}
	defer t.unlock()
	t.trim(clock())
	if offset == All || !t.erase(offset) {
		return fmt.Errorf("redact %d of %q: %w", offset, topic, ErrNotFound)
	}
	return nil
}

// Close frees what is kept. Calls that have begun may still complete; those
// that begin later return [ErrClosed]. It returns nil, and may be called again.
func (s *Memory) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.topics, s.order = true, nil, nil
	return nil
}

// find returns the topic, locked, or an empty one in its place that nobody else
// sees, so that asking for a topic does not create it.
func (s *Memory) find(ctx context.Context, name string) (*topic, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	t, closed, horizon := s.topics[name], s.closed, s.horizon
	s.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if t == nil {
		t = &topic{name: name, floor: horizon, since: horizon, room: &s.room}
	}
	t.mu.Lock() // dropped by now? Then it is empty, as it was when we looked
	return t, nil
}

// claim returns the topic, locked, and creates it if need be, or returns ErrNotFound if it
// may not.
func (s *Memory) claim(ctx context.Context, name string, now time.Time, create bool) (*topic, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for {
		s.mu.RLock()
		t, closed := s.topics[name], s.closed
		s.mu.RUnlock()
		if t == nil && !closed && !create {
			return nil, ErrNotFound
		}
		if t == nil && !closed {
			var err error
			if t, closed, err = s.create(name, now); err != nil {
				return nil, err
			}
		}
		if closed {
			return nil, ErrClosed
		}
		t.mu.Lock()
		if !t.dropped {
			return t, nil
		}
		// Dropped between the look and the lock: a message put here would be seen by nobody.
		t.unlock()
	}
}

func (s *Memory) create(name string, now time.Time) (t *topic, closed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, true, nil
	}
	if t = s.topics[name]; t == nil { // else another Append was faster
		if err := s.room.admit(name); err != nil {
			return nil, false, err
		}
		t = &topic{name: name, index: len(s.order), floor: s.horizon, since: s.horizon, used: now, room: &s.room}
		s.topics[name] = t
		s.order = append(s.order, t)
	}
	return t, false, nil
}

// sweep frees what has aged in the next few topics, and drops those that were
// not used for so long that nobody will ask. It does not wait for any: one that
// is locked is in use, and trims itself.
func (s *Memory) sweep(now time.Time) {
	for range sweepStep {
		s.mu.RLock()
		var t *topic
		if n := uint64(len(s.order)); n > 0 {
			t = s.order[s.cursor.Add(1)%n]
		}
		s.mu.RUnlock()
		if t == nil || !t.mu.TryLock() {
			continue
		}
		t.trim(now)
		idle := t.idle(now)
		t.unlock()
		if idle {
			s.drop(t, now)
		}
	}
	if _, need := s.room.need(); need > 0 {
		s.makeRoom(now)
	}
}

// drop takes t out of the store, unless it was used again meanwhile.
func (s *Memory) drop(t *topic, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !t.mu.TryLock() {
		return
	}
	defer t.unlock()
	if !t.dropped && t.idle(now) {
		s.remove(t)
	}
}

// remove takes t out of the store. s.mu and t.mu are held.
func (s *Memory) remove(t *topic) {
	s.room.leave(t.name)
	t.charge(-t.size)
	t.messages, t.keys = ring{}, nil
	t.dropped = true
	// A topic of that name would not know what it once had. From here on, none
	// that begins vouches for a time in which any that was dropped had messages.
	s.horizon = max(s.horizon, t.top)
	delete(s.topics, t.name)
	last := len(s.order) - 1
	s.order[t.index] = s.order[last]
	s.order[t.index].index = t.index
	s.order[last] = nil
	s.order = s.order[:last]
}

func (t *topic) idle(now time.Time) bool {
	return t.messages.n == 0 && now.Sub(t.used) >= remembered
}

// trim drops what the retention does not cover at the time now.
func (t *topic) trim(now time.Time) {
	over := 0
	if t.keep.Keep > 0 {
		over = max(0, t.messages.n-t.keep.Keep)
	}
	if t.keep.Age > 0 {
		for aged := now.Add(-t.keep.Age); over < t.messages.n && !t.messages.at(over).At.After(aged); {
			over++
		}
	}
	for i := range over {
		t.free(i)
	}
	for t.room.over(t.size) && over < t.messages.n-1 {
		t.free(over)
		over++
	}
	if over > 0 {
		t.floor = t.messages.at(over - 1).Offset
		t.messages.drop(over)
	}
}

// erase removes a message, or all, and reports whether there was something.
func (t *topic) erase(offset uint64) bool {
	if offset == All {
		t.charge(-t.size)
		t.messages, t.keys = ring{}, nil
		t.floor = t.top
		return t.top > 0
	}
	i := t.messages.after(offset) - 1
	if i < 0 || t.messages.at(i).Offset != offset {
		return false
	}
	t.free(i)
	t.messages.remove(i)
	return true
}

func (t *topic) push(m *Message) {
	if m.Key != "" {
		if t.keys == nil {
			t.keys = map[string]uint64{}
		}
		t.keys[m.Key] = m.Offset
	}
	t.messages.push(m)
	t.messages.at(t.messages.n - 1).Erases = 0 // it has done so
	t.charge(bytesOf(m))
}

// free frees the room and the key of the message with index i, which goes.
func (t *topic) free(i int) {
	m := t.messages.at(i)
	t.charge(-bytesOf(m))
	if t.keys == nil {
		return
	}
	if delete(t.keys, m.Key); len(t.keys) == 0 {
		t.keys = nil // a map that was large once stays large
	}
}

// charge takes note that the messages take n bytes more.
func (t *topic) charge(n int64) {
	t.size += n
	t.owes += n
}

// unlock tells of what was charged, at once: mostly as much has come as has gone.
func (t *topic) unlock() {
	if t.owes != 0 {
		t.room.bytes.Add(t.owes)
		t.owes = 0
	}
	t.mu.Unlock()
}

func (t *topic) page(r Range) Page {
	from, n := 0, t.messages.n
	p := Page{Top: t.top}
	if r.Newest {
		p.Complete = t.floor == t.since && (r.Before == 0 || r.Before > t.since)
		end := n
		if r.Before > 0 {
			end = t.messages.after(r.Before - 1)
		}
		n = r.fit(end, func(i int) int { return len(t.messages.at(end - 1 - i).Payload) })
		from = end - n
		p.More = from > 0
	} else {
		p.Complete = t.floor <= r.After && r.After <= t.top
		from = t.messages.after(r.After)
		n = r.fit(n-from, func(i int) int { return len(t.messages.at(from + i).Payload) })
		p.More = from+n < t.messages.n
	}
	p.Messages = make([]Message, n)
	t.messages.copyTo(p.Messages, from)
	return p
}

// fit returns how many of n messages, of which the i-th has size(i) bytes, make a page.
func (r Range) fit(n int, size func(i int) int) int {
	if r.Limit > 0 {
		n = min(n, r.Limit)
	}
	if r.Bytes <= 0 {
		return n
	}
	bytes := 0
	for i := range n {
		if bytes += size(i); bytes > r.Bytes && i > 0 {
			return i
		}
	}
	return n
}

// clock is the wall's: a monotonic reading would stand still while the machine sleeps.
func clock() time.Time { return time.Now().Round(0) }
