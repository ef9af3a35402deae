package fanout

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
)

const (
	// A page is what one look at the history takes, for a member that is behind.
	pageMessages = 100
	pageBytes    = 256 << 10
	// The first join reads some of the newest messages, for itself and for others.
	firstMessages = 64
)

// topAlone reads no message.
var topAlone = store.Range{After: math.MaxUint64}

// reader reads the history of a topic: pages for members that are behind, where
// joins begin, and whether announcements are missing. What it reads it leaves in
// the tail, as far as it meets that. It knows no members.
type reader struct {
	topic   *Topic
	history broker.History
	tasks   *task.Group
	first   int           // how many of the newest are read first
	reading chan struct{} // full while something is read for a member

	// Guarded by topic.mu.
	stale    int      // counts what makes a page stale that is read meanwhile
	erased   []uint64 // messages that were, since a read began
	suspect  bool     // announcements may be missing
	checking bool     // that is looked into
}

func newReader(t *Topic, c Config) *reader {
	return &reader{topic: t, history: c.History, tasks: c.Tasks, first: max(firstMessages, c.Replay), reading: make(chan struct{}, 1)}
}

// claim waits until nothing is read for another member of this topic.
func (r *reader) claim(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case r.reading <- struct{}{}:
		return nil
	case <-ctx.Done(): // a client that is disconnected does not wait for a store that hangs
		return context.Cause(ctx)
	}
}

func (r *reader) release() { <-r.reading }

// page reads what follows an offset, unless another read has put it in memory
// meanwhile: then it returns a page without an epoch.
func (r *reader) page(ctx context.Context, after uint64) ([]entry, store.Page, error) {
	if err := r.claim(ctx); err != nil {
		return nil, store.Page{}, err
	}
	defer r.release()
	r.topic.mu.Lock()
	near := r.topic.tail.reaches(after)
	r.topic.mu.Unlock()
	if near {
		return nil, store.Page{}, nil
	}
	return r.read(ctx, store.Range{After: after, Limit: pageMessages, Bytes: pageBytes})
}

// read reads a part of the history, and leaves in the tail what meets it. It is
// claimed.
func (r *reader) read(ctx context.Context, part store.Range) ([]entry, store.Page, error) {
	t := r.topic
	for {
		t.mu.Lock()
		stale := r.stale
		r.erased = nil
		t.mu.Unlock()
		page, err := r.history.Read(ctx, t.name, part)
		if err != nil {
			return nil, page, err
		}
		entries := entriesOf(t.name, page.Messages)
		t.mu.Lock()
		if r.stale != stale { // it may have what was forgotten, or not what is missing
			t.mu.Unlock()
			continue
		}
		if t.closed {
			t.mu.Unlock()
			return entries, page, nil
		}
		entries = slices.DeleteFunc(entries, func(e entry) bool { return slices.Contains(r.erased, e.m.Offset) })
		if t.tail.known() && page.Epoch != t.tail.epoch {
			t.renew(page.Epoch, page.Top)
		}
		t.tail.take(entries, part, page)
		t.budget.charge(t)
		t.mu.Unlock()
		return entries, page, nil
	}
}

// erase takes note of what a page that is read meanwhile may still have. topic.mu
// is held.
func (r *reader) erase(offset uint64) {
	switch {
	case offset == 0:
		r.stale++
	case len(r.reading) > 0: // else no page is
		r.erased = append(r.erased, offset)
	}
}

// check has it looked into whether announcements are missing. topic.mu is held.
func (r *reader) check() {
	r.suspect = true
	r.stale++
	if !r.checking {
		r.checking = true
		r.tasks.Go(r.look)
	}
}

// look reads where the top is, until nothing was suspected meanwhile.
func (r *reader) look() {
	t := r.topic
	_ = r.claim(context.Background()) // or what it has read may be older than what another has
	defer r.release()
	for {
		t.mu.Lock()
		if !r.suspect || t.closed {
			r.checking = false
			t.mu.Unlock()
			return
		}
		r.suspect = false
		t.mu.Unlock()
		page, err := r.history.Read(context.Background(), t.name, topAlone)
		t.mu.Lock()
		switch {
		case t.closed:
		case err != nil: // never a gap in silence
			t.tail.reset("", 0)
			t.budget.charge(t)
			t.members.failAll(fmt.Errorf("announcements are missing, and the history can't be read: %w", err))
		case !t.tail.known(): // whoever joins reads it
		case page.Epoch != t.tail.epoch:
			t.renew(page.Epoch, page.Top)
		case page.Top > t.tail.top:
			t.skip(page.Top)
		}
		t.mu.Unlock()
	}
}

// endOf is the position behind a page.
func endOf(p store.Page) uint64 {
	if p.More {
		return p.Messages[len(p.Messages)-1].Offset
	}
	return p.Top
}
