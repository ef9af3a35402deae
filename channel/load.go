package channel

import (
	"context"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// load reads the newest messages into the tail, once for all who join at once.
// What is announced meanwhile is in the tail already.
func (t *topic) load(ctx context.Context) error {
	if t.loaded.Load() {
		return nil
	}
	if err := t.claim(ctx); err != nil {
		return err
	}
	defer t.release()
	if t.loaded.Load() {
		return nil
	}
	for {
		t.mu.Lock()
		erased := t.erased
		t.mu.Unlock()
		entries, top, whole, err := t.readTail(ctx)
		if err != nil {
			return err
		}
		t.mu.Lock()
		if t.erased == erased {
			defer t.mu.Unlock()
			t.fill(entries, top, startOf(entries, top), whole)
			return nil
		}
		t.mu.Unlock() // what must go may be among what was read
	}
}

// claim waits until nobody else reads the store for this topic.
func (t *topic) claim(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case t.reading <- struct{}{}:
		return nil
	case <-ctx.Done(): // a client that is kicked does not wait for a store that hangs
		return context.Cause(ctx)
	}
}

func (t *topic) release() { <-t.reading }

// readTail reads what a tail holds, the top, and whether that is all there is.
func (t *topic) readTail(ctx context.Context) (entries []entry, top uint64, whole bool, err error) {
	history := t.hub.history
	page, err := history.Read(ctx, t.name, store.Range{Newest: true, Limit: t.tail.most, Bytes: maxTailBytes})
	if err != nil {
		return nil, 0, false, err
	}
	entries = entriesOf(t.name, page)
	// Less than asked for is all there is, unless the bytes have cut it short.
	whole = len(entries) < t.tail.most
	if whole && len(entries) > 0 && entries[0].prev > 0 {
		oldest, err := history.Read(ctx, t.name, store.Range{Limit: 1})
		if err != nil {
			return nil, 0, false, err
		}
		whole = len(oldest.Messages) == 0 || oldest.Messages[0].Offset >= entries[0].m.Offset
	}
	return entries, page.Top, whole, nil
}

// read reads for one join, and leaves what it got in the tail, which is wide for
// a while, for those who want the same. The topic is claimed.
func (t *topic) read(ctx context.Context, r store.Range) ([]*wire.Message, store.Page, error) {
	t.mu.Lock()
	erased := t.erased
	t.mu.Unlock()
	page, err := t.hub.history.Read(ctx, t.name, r)
	if err != nil {
		return nil, page, err
	}
	entries := entriesOf(t.name, page)
	list := messages(entries) // before the tail drops what it has no room for
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.erased != erased: // what must go may be among it
	case r.Newest:
		t.widen()
		// Less than a join asked for is all that any gets.
		t.fill(entries, page.Top, startOf(entries, page.Top), len(entries) < r.Limit)
	case page.Complete && !page.More:
		t.widen()
		t.fill(entries, page.Top, r.After, false)
	case r.After <= page.Top:
		t.lost = max(t.lost, r.After+1)
	}
	t.account()
	return list, page, nil
}

// fill takes what was read into the tail. t.mu is held.
func (t *topic) fill(entries []entry, top, base uint64, whole bool) {
	t.tail.fill(entries, top, base, whole)
	t.last = max(t.last, top)
	t.loaded.Store(true)
}
