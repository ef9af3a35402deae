package boltstore

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
)

const (
	// One commit deletes so many messages at most, of so many topics, unless it has
	// half as many operations: some milliseconds that these wait. Faster than what
	// comes in, or what waits to be deleted would grow as long as there is much.
	sweepMessages = 1_024
	sweepTopics   = 64

	// yields bounds how often the committer lets others run before it takes what waits.
	yields = 4

	// While the disk is full, how much room there has to be, and how soon it is looked for.
	roomBytes = 8 << 20
	roomFirst = 100 * time.Millisecond
	roomMost  = 10 * time.Second
)

// committer takes whatever waits and commits it, until the store is closed or a
// commit has failed. It has no timer to wait for more: while it waits for the
// disk, more comes anyway. What is due is looked at in each commit.
type committer struct {
	file    *disk.File
	queue   *queue
	bounds  *bounds
	log     *slog.Logger
	room    func(bytes int) error // an error as long as the disk has none
	closing func()                // called before the file is released
	ended   chan struct{}         // closed when run has ended; then err is what has failed
	err     error

	health health
	meter  meter

	buf []byte // for records
	due int64  // when something is to be swept, Unix nanoseconds; 0: never
}

func (c *committer) run() {
	defer close(c.ended)
	for last := false; !last; {
		c.gather()
		c.bounds.begin(c.overdue(), clock())
		c.bounds.look(c.file, clock())
		var ops []*op
		ops, last = c.queue.take()
		if len(ops) == 0 && !last && !c.overdue() && !c.bounds.evicting() {
			if !c.bounds.looking() {
				c.wait()
			}
			continue
		}
		if err := c.commit(ops, last); errors.Is(err, disk.ErrNoRoom) && !last {
			c.pause(ops, err)
			continue
		} else if err != nil {
			c.fail(ops, err)
			break
		}
		for _, o := range ops {
			if o.err == nil && o.committed != nil {
				o.committed()
			}
			o.done <- o.err
		}
	}
	c.closing()
	if err := c.file.Close(); err != nil && c.err == nil {
		c.err = err
	}
}

// gather lets the callers that can run put their operations before the commit takes
// what waits. Without that, on one processor, the first one wakes the committer,
// which keeps the processor through the sync, and commits do not group.
func (c *committer) gather() {
	for before, n := 0, 0; n < yields; n++ {
		runtime.Gosched()
		now := c.queue.waiting()
		if now == before {
			return
		}
		before = now
	}
}

func (c *committer) overdue() bool { return c.due != 0 && c.due <= clock() }

// wait returns when there is something to do.
func (c *committer) wait() {
	var timer <-chan time.Time
	if c.due != 0 {
		t := time.NewTimer(time.Duration(c.due - clock()))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-c.queue.wake:
	case <-timer:
	}
}

// commit commits ops with what is due, and with the mark of a file that is closed
// if it is the last.
func (c *committer) commit(ops []*op, last bool) error {
	update := c.file.Update
	if last {
		update = c.file.UpdateLast
	}
	var warnings []error
	known, began := uint64(0), time.Now()
	err := update(func(tx *bolt.Tx) error {
		now := clock()
		p, err := tree.Begin(tx, now, c.buf)
		if err != nil {
			return err
		}
		p.Bound(c.bounds.now())
		for _, o := range ops {
			if o.err = o.change(p); o.err != nil && !errors.Is(o.err, store.ErrNotFound) && !errors.Is(o.err, store.ErrKeyReused) {
				o.err = disk.Explain(c.file.Path(), o.err)
			}
		}
		sweeper, topics := tree.NewSweeper(p), max(sweepTopics, 2*len(ops))
		sweeper.Sweep(max(sweepMessages, 2*len(ops)), topics)
		c.bounds.evict(p, topics, now)
		if last {
			p.Close()
		}
		c.due, err = p.End()
		c.buf, warnings, known = p.Buffer(), sweeper.Warnings(), p.Known()
		return err
	})
	if err == nil {
		c.meter.commits(time.Since(began))
		if !last {
			_ = c.bounds.see(c.file, known) // what can not be read is an error of the next commit
			c.health.is(c.bounds.trouble())
			c.meter.holds(c.bounds)
		}
	}
	if cap(c.buf) > queueBytes {
		c.buf = nil // a large one is rare
	}
	for _, err := range warnings {
		c.log.Warn("history could not be swept", "file", c.file.Path(), "error", disk.Explain(c.file.Path(), err))
	}
	return err
}

// refuse answers ops and what waits, and has all that comes refused, with why.
func (c *committer) refuse(ops []*op, why error) {
	c.health.is(why)
	c.log.Error("history could not be written", "file", c.file.Path(), "error", why)
	for _, o := range append(ops, c.queue.refuse(why)...) {
		o.done <- why
	}
}

// pause refuses what comes until the disk has room, or the store is closed. Nothing of
// the commit is in the file, and the file is as it was: so it can go on, which it could
// not after an error of a sync.
func (c *committer) pause(ops []*op, why error) {
	c.refuse(ops, fmt.Errorf("%w: %w", store.ErrFull, why))
	for wait := roomFirst; !c.queue.isClosed(); wait = min(2*wait, roomMost) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.queue.wake: // it is closed
		}
		timer.Stop()
		if c.room(roomBytes) == nil {
			c.log.Info("history can be written again", "file", c.file.Path())
			break
		}
	}
	c.health.is(nil)
	c.queue.refuse(nil)
}

// fail ends the store for writers: with what it can't commit, and with what waits.
// Readers can go on until it is closed.
func (c *committer) fail(ops []*op, why error) {
	c.err = fmt.Errorf("%w: %w", ErrFailed, why)
	c.refuse(ops, c.err)
	for {
		if _, last := c.queue.take(); last {
			return
		}
		<-c.queue.wake
	}
}
