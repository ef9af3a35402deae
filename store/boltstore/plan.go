package boltstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-chime/chime/store"
)

// What a call changes is decided here, at once and in memory, by the caller
// itself: the offset, what is trimmed, what the topic will look like. The
// committer only writes it down; when it has, readers see it.

const (
	appended = iota
	forgotten
	redacted
)

// op is a change on its way to the file.
type op struct {
	kind     int
	t        *topic
	m        store.Message
	rec      record
	announce func(store.Message)
	then     view       // what readers see when it is committed
	warn     error      // not of o: what else has failed on the way, for the log
	done     chan error // gets one value; nil if nobody waits
}

const (
	// queueBytes bounds what waits for a commit, and with it the size of one:
	// whoever comes then waits to be let in.
	queueBytes = 16 << 20
	opBytes    = 200 // what an op takes beside its payload
)

var errLarge = fmt.Errorf("payload is larger than %d bytes", maxPayload)

// admit returns with plan locked, or an error.
func (s *Store) admit(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.plan.Lock()
		if s.closed {
			s.plan.Unlock()
			return store.ErrClosed
		}
		if s.failed != nil {
			defer s.plan.Unlock()
			return s.failed
		}
		if s.waiting < queueBytes {
			return nil
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.plan.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}

// enqueue hands o to the committer. It is called with plan held.
func (s *Store) enqueue(o *op) {
	s.queue = append(s.queue, o)
	s.waiting += len(o.m.Payload) + opBytes
	if len(s.queue) == 1 {
		s.wake()
	}
}

func (s *Store) append(ctx context.Context, name string, o *op, keep store.Retention) error {
	if len(o.m.Payload) > maxPayload || len(name) > maxPayload || len(o.m.Event) > maxPayload {
		return errLarge
	}
	if err := s.admit(ctx); err != nil {
		return err
	}
	now := clock()
	t := s.claim(name, now)
	t.mu.Lock()
	if err := s.let(o, t, keep, now); err != nil {
		t.mu.Unlock()
		s.plan.Unlock()
		return explain(s.path, err)
	}
	if s.behind {
		s.hold(o.m)
		s.enqueue(o)
		// Others may plan, but not in this topic: it is announced in its order.
		s.plan.Unlock()
		o.publish()
		t.mu.Unlock()
		s.untrimmed(t, o.warn)
		return nil
	}
	t.mu.Unlock()
	o.done = make(chan error, 1)
	s.enqueue(o)
	s.plan.Unlock()
	s.untrimmed(t, o.warn)
	return <-o.done
}

// untrimmed logs what keeps a topic from being trimmed, if anything does. It is
// called without locks: a log may write to a history itself, or take its time.
func (s *Store) untrimmed(t *topic, err error) {
	if err != nil {
		s.log.Warn("history could not be trimmed", "file", s.path, "topic", t.name, "error", explain(s.path, err))
	}
}

// let decides what o, an append, makes of t. It is called with plan and t.mu
// held, and leaves everything as it was if it fails.
func (s *Store) let(o *op, t *topic, keep store.Retention, now int64) error {
	// By the old retention: what has aged must not come back when the new one is longer.
	if err := s.trim(t, now); err != nil {
		return err
	}
	at := now
	if !o.m.At.IsZero() {
		at = min(nano(o.m.At), now)
	}
	if last, ok := t.last(); ok {
		at = max(at, last) // a topic ages in its order
	}
	seq := s.meta.seq + 1
	was := t.keep
	t.keep = keep
	if err := t.add(entry{seq, at, len(o.m.Payload)}, s.fetch); err != nil {
		t.keep = was
		return err
	}
	if err := s.trim(t, now); err != nil {
		o.warn = err // nothing that a reader may see hangs on it, and the next one trims again
	}
	s.meta.seq = seq
	s.since++
	o.t = t
	o.m.Offset, o.m.Prev, o.m.At = seq, t.top, time.Unix(0, at)
	o.rec = record{seq: seq, topic: t.id, prev: t.top, floor: t.floor, at: at, bin: o.m.Binary}
	if !t.named {
		o.rec.name, t.named = &t.name, true
	}
	if was != keep || o.rec.name != nil {
		o.rec.keep = &keep
	}
	t.top, t.used = seq, now
	o.then = view{t.top, t.floor, keep}
	s.touch(t)
	if keep.Age > 0 {
		s.expect(expiry(at, keep.Age))
	}
	return nil
}

func (s *Store) forget(ctx context.Context, name string) error {
	if err := s.admit(ctx); err != nil {
		return err
	}
	t := s.find(name)
	if t == nil {
		s.plan.Unlock()
		return nil
	}
	t.mu.Lock()
	t.rise(t.top)
	o := &op{kind: forgotten, t: t, then: view{t.top, t.floor, t.keep}, done: make(chan error, 1)}
	return s.change(o)
}

func (s *Store) redact(ctx context.Context, name string, offset uint64) error {
	if err := s.admit(ctx); err != nil {
		return err
	}
	t := s.find(name)
	if t == nil {
		s.plan.Unlock()
		return store.ErrNotFound
	}
	t.mu.Lock()
	b, i, err := (*block)(nil), 0, s.trim(t, clock())
	if err == nil {
		b, i, err = t.find(offset, s.fetch)
	}
	if err == nil && b == nil {
		err = store.ErrNotFound
	}
	if err != nil {
		t.mu.Unlock()
		s.plan.Unlock()
		if errors.Is(err, store.ErrNotFound) {
			return err
		}
		return explain(s.path, err)
	}
	t.remove(b, i)
	o := &op{kind: redacted, t: t, rec: record{seq: offset}, then: view{t.top, t.floor, t.keep}, done: make(chan error, 1)}
	return s.change(o)
}

// change commits o, a rare one, together with a checkpoint: then the log needs
// no records of such changes, and Open none of what they did to each other. It
// is called with plan and the topic's mu held, and releases both.
func (s *Store) change(o *op) error {
	s.touch(o.t)
	s.expect(clock())
	s.must = true
	s.enqueue(o)
	s.plan.Unlock()
	if s.behind {
		o.publish()
	}
	o.t.mu.Unlock()
	return <-o.done
}

// publish shows readers what o made of its topic. It is called with the topic's mu held.
func (o *op) publish() {
	o.t.seen = view{max(o.t.seen.top, o.then.top), max(o.t.seen.floor, o.then.floor), o.then.keep}
	if o.announce != nil {
		o.announce(o.m)
	}
}

// find returns a topic or nil.
func (s *Store) find(name string) *topic {
	s.topicsMu.RLock()
	defer s.topicsMu.RUnlock()
	return s.topics[name]
}

// claim returns the topic, new if need be. It is called with plan held.
func (s *Store) claim(name string, now int64) *topic {
	if t := s.find(name); t != nil {
		return t
	}
	t := &topic{id: s.meta.nextID, name: name, floor: s.meta.horizon, used: now}
	t.seen.floor = t.floor
	s.meta.nextID++
	s.enter(t)
	return t
}

func (s *Store) enter(t *topic) {
	t.index = len(s.order)
	s.order = append(s.order, t)
	s.topicsMu.Lock()
	defer s.topicsMu.Unlock()
	s.topics[t.name] = t
}

// trim is the topic's, and notes what comes of it. It is called with plan and
// the topic's mu held.
func (s *Store) trim(t *topic, now int64) error {
	was := t.floor
	err := t.trim(now, s.fetch)
	if t.floor != was {
		s.touch(t)
	}
	return err
}

// touch notes what the next checkpoint has to write, and the sweep to look at.
func (s *Store) touch(t *topic) {
	if !t.touched {
		t.touched = true
		s.touched = append(s.touched, t)
	}
	s.rot(t)
}

// rot notes that t has blocks with nothing visible in them.
func (s *Store) rot(t *topic) {
	for _, b := range t.blocks[t.counted:t.dead] {
		s.wasted += b.n
	}
	t.counted = t.dead
	if t.dead > 0 && !t.rotten {
		t.rotten = true
		s.rotten = append(s.rotten, t)
	}
}

// nano is UnixNano, where there is one: what is said to be from before 1823 is
// from then. Farther back, ages would overflow.
func nano(t time.Time) int64 {
	if earliest := time.Unix(0, -1<<62); t.Before(earliest) {
		return -1 << 62
	}
	if latest := time.Unix(0, 1<<62); t.After(latest) {
		return 1 << 62
	}
	return t.UnixNano()
}
