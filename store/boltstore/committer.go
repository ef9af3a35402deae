package boltstore

import (
	"fmt"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

const (
	// checkpointEvery is how many messages may follow a checkpoint. Open reads
	// them one by one, some 20 ms for as many; each checkpoint writes a page or
	// two for every topic that had one of them.
	checkpointEvery = 20_000

	// The log only grows at its end, so its pages need no room for what comes between.
	logFill = 0.95
)

// batch is what one transaction writes.
type batch struct {
	ops     []*op
	puts    []put
	deletes []del
	log     []uint64 // sequences whose records go
	meta    *meta    // of a checkpoint
	stored  []stored // blocks that are in the file after it
}

type put struct{ bucket, key, value []byte }

type del struct{ bucket, key []byte }

type stored struct {
	t *topic
	b *block
}

func (b *batch) empty() bool {
	return len(b.ops) == 0 && len(b.puts) == 0 && len(b.deletes) == 0 && len(b.log) == 0 && b.meta == nil
}

// commits is the committer: it takes whatever waits and commits it, until the
// store is closed or has failed. It has no timer to wait for more: while it
// waits for the disk, more comes anyway.
func (s *Store) commits() {
	defer close(s.stopped)
	defer s.release()
	// The file is read through a memory map: a page that the disk can't give
	// is a fault, which would end the process.
	debug.SetPanicOnFault(true)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	set := int64(-1) // what the timer is set to
	for {
		s.gather()
		b, due, last := s.cut()
		if !b.empty() {
			if err := s.write(b); err != nil {
				s.fail(b, err)
				for !s.done() { // who reads still can
					<-s.work
				}
				return
			}
			s.publish(b)
			if !last {
				continue
			}
		}
		if last {
			return
		}
		if due != set {
			set = due
			timer.Stop()
			if due != 0 {
				timer.Reset(time.Duration(due - clock()))
			}
		}
		select {
		case <-s.work:
		case <-timer.C:
			set = -1
			s.pass(clock())
		}
	}
}

// cut takes what waits. due is when the ages are to be looked at; last says
// that the store has been closed and the batch is its last.
func (s *Store) cut() (b *batch, due int64, last bool) {
	s.plan.Lock()
	defer s.plan.Unlock()
	b = &batch{ops: s.queue}
	s.queue, s.waiting = nil, 0
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
	if s.closed || s.must || s.since >= s.options.checkpointEvery {
		s.checkpoint(b)
		if s.closed {
			b.meta.mark = clean
		}
	}
	s.sweep(b)
	return b, s.due, s.closed
}

// write commits b.
func (s *Store) write(b *batch) error {
	return s.writeTx(func(tx *bolt.Tx) error {
		log := tx.Bucket(logBucket)
		log.FillPercent = logFill
		s.buf = s.buf[:0]
		for _, o := range b.ops {
			if o.kind != appended {
				continue
			}
			// bbolt copies the key, and holds on to the value until the commit.
			// A buffer that grows leaves what it already holds where it is.
			start, key := len(s.buf), logKey(o.rec.seq)
			o.rec.event, o.rec.data = o.m.Event, o.m.Payload
			s.buf = appendRecord(s.buf, key, &o.rec)
			if err := log.Put(key, s.buf[start:len(s.buf):len(s.buf)]); err != nil {
				return err
			}
		}
		for _, o := range b.ops {
			if o.kind == redacted {
				if err := log.Delete(logKey(o.rec.seq)); err != nil {
					return err
				}
			}
		}
		for _, p := range b.puts {
			if err := tx.Bucket(p.bucket).Put(p.key, p.value); err != nil {
				return err
			}
		}
		for _, seq := range b.log {
			if err := log.Delete(logKey(seq)); err != nil {
				return err
			}
		}
		for _, d := range b.deletes {
			if err := tx.Bucket(d.bucket).Delete(d.key); err != nil {
				return err
			}
		}
		if b.meta != nil {
			return putMeta(tx, b.meta)
		}
		return nil
	})
}

// publish shows what b wrote and wakes who waits for it.
func (s *Store) publish(b *batch) {
	s.drop(b.ops)
	for _, o := range b.ops {
		if !s.behind {
			o.t.mu.Lock()
			o.publish()
			o.t.mu.Unlock()
		}
		if o.done != nil {
			o.done <- nil
		}
	}
	for _, st := range b.stored {
		st.t.mu.Lock()
		if !st.b.dirty {
			st.b.entries = nil
		}
		st.t.mu.Unlock()
	}
	if cap(s.buf) > queueBytes {
		s.buf = nil // a large one is rare
	}
}

// fail ends the store for writers: with what it can't commit, and with what waits.
func (s *Store) fail(b *batch, why error) {
	why = fmt.Errorf("%w: %w", ErrFailed, explain(s.path, why))
	s.log.Error("history could not be written", "file", s.path, "error", why)
	s.plan.Lock()
	defer s.plan.Unlock()
	s.failed = why
	for _, o := range append(b.ops, s.queue...) {
		if o.done != nil {
			o.done <- why
		}
	}
	s.queue = nil
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

func (s *Store) done() bool {
	s.plan.Lock()
	defer s.plan.Unlock()
	return s.closed
}

// hold keeps a message readable until it is committed. It is called with plan held.
func (s *Store) hold(m store.Message) {
	s.heldMu.Lock()
	defer s.heldMu.Unlock()
	s.held[m.Offset] = m
}

// drop lets go of what is in the file.
func (s *Store) drop(ops []*op) {
	if !s.behind {
		return
	}
	s.heldMu.Lock()
	defer s.heldMu.Unlock()
	for _, o := range ops {
		delete(s.held, o.m.Offset)
	}
}
