package fanout

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/wire"
)

// ErrGap is what a member fails with that can't be sent all it has not had: the
// history no longer has it, or has another epoch.
var ErrGap = errors.New("the history no longer has what follows the position")

// Published sends p to the members. Its lock is held over memory operations only:
// no client can delay it.
func (t *Topic) Published(p broker.Publication) {
	m := messageOf(t.name, p.Message)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	if p.Offset == 0 {
		t.sendEphemeral(m, p.From)
		return
	}
	switch t.tail.place(p) {
	case next:
		t.tail.append(m, p.At)
		t.budget.charge(t)
		t.sendRetained(m, p)
	case missing:
		t.skip(p.Offset)
	case foreign: // the history knows whether its epoch has changed, or p is late
		t.recheck()
	}
}

func (t *Topic) sendEphemeral(msg *wire.Message, from string) {
	for _, m := range t.members {
		switch {
		case m.state == failed, from != "" && m.owner.ID() == from:
		case m.state == live:
			_ = m.queue.Send(msg, "") // a client that has ended hears of it elsewhere
		default:
			m.keep(msg)
		}
	}
}

func (t *Topic) sendRetained(msg *wire.Message, p broker.Publication) {
	for _, m := range t.members {
		if m.state == live && p.Offset > m.at && !m.queue.Offer(msg, m.joinRef) {
			m.fallBehind(p.Prev)
		}
	}
}

// skip goes on at an offset up to which announcements are missing. All members
// read what they have not had. t.mu is held.
func (t *Topic) skip(offset uint64) {
	had := t.tail.top
	t.tail.reset(t.tail.epoch, offset)
	t.budget.charge(t)
	for _, m := range t.members {
		if m.state == live && m.at < offset {
			m.fallBehind(had)
		}
	}
}

// renew begins another epoch, in which the positions of the members mean nothing.
// t.mu is held.
func (t *Topic) renew(epoch string, top uint64) {
	t.tail.reset(epoch, top)
	t.budget.charge(t)
	t.failAll(ErrGap)
}

// failAll fails all members but those that still join. t.mu is held.
func (t *Topic) failAll(why error) {
	for _, m := range t.members {
		if m.state == live || m.state == behind {
			t.fail(m, why)
		}
	}
}

// fail ends the service of m. t.mu is held, so its owner is told by another goroutine.
func (t *Topic) fail(m *Member, why error) {
	m.state, m.waiting = failed, nil
	t.tasks.Go(func() { m.owner.Fail(why) })
}

// Erased says that the history no longer has a message, or any up to now if
// offset is 0.
func (t *Topic) Erased(offset uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tail.erase(offset)
	t.stale++
	t.budget.charge(t)
}

// Lost says that announcements may be missing. The history is read to learn of
// them, by another goroutine.
func (t *Topic) Lost() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.history != nil {
		t.recheck()
	}
}

// recheck is Lost. t.mu is held.
func (t *Topic) recheck() {
	t.suspect = true
	t.stale++
	if !t.checking {
		t.checking = true
		t.tasks.Go(t.check)
	}
}

// check reads where the top is, until nothing was lost meanwhile.
func (t *Topic) check() {
	for {
		t.mu.Lock()
		if !t.suspect {
			t.checking = false
			t.mu.Unlock()
			return
		}
		t.suspect = false
		t.mu.Unlock()
		page, err := t.history.Read(context.Background(), t.name, topAlone)
		t.mu.Lock()
		switch {
		case err != nil: // never a gap in silence
			t.tail.reset("", 0)
			t.failAll(fmt.Errorf("announcements were lost, and the history can't be read: %w", err))
		case !t.tail.known(): // whoever joins reads it
		case page.Epoch != t.tail.epoch:
			t.renew(page.Epoch, page.Top)
		case page.Top > t.tail.top:
			t.skip(page.Top)
		}
		t.mu.Unlock()
	}
}
