package fanout

import (
	"context"
	"slices"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

const (
	// A page is what one look at the history takes, for a member that is behind.
	pageMessages = 100
	pageBytes    = 256 << 10
	// The first join reads some of the newest messages, for itself and for others.
	firstMessages = 64
)

// reader reads the history of a topic: pages for members that are behind, and where
// joins begin. What it reads it leaves in the tail, as far as it meets that. It knows no
// members. Its methods are called with the topic's lock held, and give that up while they
// wait and while they read.
type reader struct {
	feed    *feed
	copies  *copies // what is read may be what they have become; nil: there are none
	history broker.History
	first   int           // how many of the newest are read first
	reading chan struct{} // full while something is read for a member

	// Guarded by the topic's lock.
	stale  int              // counts what makes a page stale that is read meanwhile
	erased []store.Position // of messages that were, since a read began
}

func newReader(f *feed, copies *copies, c Config) reader {
	return reader{feed: f, copies: copies, history: c.History, first: max(firstMessages, c.Replay), reading: make(chan struct{}, 1)}
}

// claim waits until nothing is read for another member of this topic.
func (r *reader) claim(ctx context.Context) error {
	r.feed.mu.Unlock()
	defer r.feed.mu.Lock()
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

// tryClaim is claim where nobody waits.
func (r *reader) tryClaim() bool {
	select {
	case r.reading <- struct{}{}:
		return true
	default:
		return false
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
	tail := &r.feed.tail
	if tail.reaches(after) || tail.isBad(after) {
		return nil, store.Page{}, nil
	}
	entries, page, err := r.read(ctx, store.Range{After: after, Limit: pageMessages, Bytes: pageBytes})
	if err == nil && page.Epoch == tail.epoch && after <= page.Top {
		tail.judge(after, page.Complete)
	}
	return entries, page, err
}

// read reads a part of the history, and leaves in the tail what meets it, which owns the
// entries where the newest were asked for. It is claimed.
func (r *reader) read(ctx context.Context, part store.Range) ([]entry, store.Page, error) {
	for {
		stale := r.stale
		r.erased = nil
		entries, page, err := r.fetch(ctx, part)
		switch {
		case err != nil:
			return nil, page, err
		case r.stale != stale: // it may have what was forgotten, or not what is missing
			continue
		case r.feed.closed:
			return entries, page, nil
		}
		for _, e := range entries {
			r.copies.whole(e.m.Event, e.m.Payload(), store.Position{Epoch: page.Epoch, Offset: e.m.Offset})
		}
		entries = slices.DeleteFunc(entries, func(e entry) bool {
			return slices.Contains(r.erased, store.Position{Epoch: page.Epoch, Offset: e.m.Offset})
		})
		r.feed.take(entries, part, page, r.outdone(page))
		return entries, page, nil
	}
}

// outdone counts the messages that were published and erased while a page was read. Each
// may have taken the place of one that the page has, which the history has let go of for
// it; nothing in memory counts against what is kept any more.
func (r *reader) outdone(page store.Page) (n int) {
	for _, at := range r.erased {
		if at.Epoch == page.Epoch && at.Offset > page.Top {
			n++
		}
	}
	return n
}

// fetch reads a part of the history, without the topic's lock.
func (r *reader) fetch(ctx context.Context, part store.Range) ([]entry, store.Page, error) {
	r.feed.mu.Unlock()
	defer r.feed.mu.Lock()
	page, err := r.history.Read(ctx, r.feed.topic, part)
	return entriesOf(r.feed.topic, page.Messages), page, err
}

// erase takes note of what a page that is read meanwhile may still have.
func (r *reader) erase(at store.Position) {
	switch {
	case at.Offset == 0:
		r.outdate()
	case len(r.reading) > 0: // else no page is
		r.erased = append(r.erased, at)
	}
}

// outdate has what is read at this moment read again.
func (r *reader) outdate() { r.stale++ }

// endOf is the position behind a page.
func endOf(p store.Page) uint64 {
	if p.More {
		return p.Messages[len(p.Messages)-1].Offset
	}
	return p.Top
}
