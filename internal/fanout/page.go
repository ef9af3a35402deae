package fanout

import (
	"context"
	"time"

	"github.com/go-chime/chime/store"
)

// page sends m one page, and reports whether it is still behind. Of a crowd at
// one place one member reads the history, and the others find it in the tail.
func (t *Topic) page(m *Member) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tail.expire(time.Now())
	if m.state == behind && !t.near(m) {
		t.mu.Unlock()
		entries, page, err := t.readPage(m)
		t.mu.Lock()
		switch {
		case m.state != behind, m.owner.Context().Err() != nil:
			return false // it has left, or is about to
		case err != nil:
			t.fail(m, err)
		case t.near(m): // by what was read
		case page.Epoch != t.tail.epoch || !page.Complete:
			t.fail(m, ErrGap)
		case m.offer(entries):
			m.at = max(m.at, endOf(page))
		}
	}
	if m.state != behind {
		return false
	}
	return !t.near(m) || !t.send(m, pageMessages)
}

// near reports whether what m has not had is in memory. t.mu is held.
func (t *Topic) near(m *Member) bool { return m.at >= t.tail.top || t.tail.covers(m.at) }

// send offers m what it has not had, at most n messages. It reports whether that
// was all: then m is live. t.mu is held.
func (t *Topic) send(m *Member, n int) bool {
	entries := t.tail.entries[t.tail.after(m.at):]
	if !m.offer(entries[:min(n, len(entries))]) || len(entries) > n {
		return false
	}
	m.rise()
	return true
}

// offer queues messages for m, and reports whether there was room for all. topic.mu
// is held.
func (m *Member) offer(entries []entry) bool {
	for _, e := range entries {
		if !m.queue.Offer(e.m, m.joinRef) {
			return false
		}
		m.at = e.m.Offset
	}
	return true
}

// readPage reads what follows the position of m, unless another read has it in
// memory meanwhile.
func (t *Topic) readPage(m *Member) ([]entry, store.Page, error) {
	ctx := m.owner.Context()
	if err := t.claim(ctx); err != nil {
		return nil, store.Page{}, err
	}
	defer t.release()
	t.mu.Lock()
	near, at := t.near(m), m.at
	t.mu.Unlock()
	if near {
		return nil, store.Page{}, nil
	}
	return t.read(ctx, store.Range{After: at, Limit: pageMessages, Bytes: pageBytes})
}

// claim waits until nobody else reads for a member of this topic.
func (t *Topic) claim(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case t.reading <- struct{}{}:
		return nil
	case <-ctx.Done(): // a client that is disconnected does not wait for a store that hangs
		return context.Cause(ctx)
	}
}

func (t *Topic) release() { <-t.reading }

// read reads a part of the history, and leaves in the tail what meets it. The
// topic is claimed.
func (t *Topic) read(ctx context.Context, r store.Range) ([]entry, store.Page, error) {
	for {
		t.mu.Lock()
		stale := t.stale
		t.mu.Unlock()
		page, err := t.history.Read(ctx, t.name, r)
		if err != nil {
			return nil, page, err
		}
		entries := entriesOf(t.name, page.Messages)
		t.mu.Lock()
		if t.stale != stale { // it may have what was erased, or not what was lost
			t.mu.Unlock()
			continue
		}
		if t.tail.known() && page.Epoch != t.tail.epoch {
			t.renew(page.Epoch, page.Top)
		}
		t.tail.take(entries, r, page)
		t.budget.charge(t)
		t.mu.Unlock()
		return entries, page, nil
	}
}

// endOf is the position behind a page.
func endOf(p store.Page) uint64 {
	if p.More {
		return p.Messages[len(p.Messages)-1].Offset
	}
	return p.Top
}
