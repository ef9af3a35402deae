package fanout

import (
	"context"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// maxLookups is how many pages are read at one time for members that look back.
const maxLookups = 8

// Lookups reads pages of the history for members that ask for what came before, a few at
// one time in all topics: joins do not wait for them, and find the history no busier than
// that. It knows no member, and has no queue.
type Lookups struct {
	history broker.History
	running chan struct{} // one for each that reads
}

// NewLookups returns one for a history, which is nil where nothing is retained.
func NewLookups(h broker.History) *Lookups {
	return &Lookups{h, make(chan struct{}, maxLookups)}
}

// Read reads a part of the history of t, in which something is retained. Reply makes a message of it, without a lock; send
// is called once, with the topic's lock held. So nothing is sent that is erased by then,
// and what says to the members that something is erased later comes behind it. An error is
// of the history or of ctx, and nothing was sent then.
func (l *Lookups) Read(ctx context.Context, t *Topic, part store.Range, reply func(store.Page) *wire.Message, send func(*wire.Message)) error {
	for {
		erasures := t.feed.erasures()
		page, err := l.read(ctx, t, part)
		if err != nil {
			return err
		}
		if m := reply(page); t.feed.sendUnless(erasures, m, send) {
			return nil
		}
	}
}

// read waits until few others read.
func (l *Lookups) read(ctx context.Context, t *Topic, part store.Range) (store.Page, error) {
	select {
	case l.running <- struct{}{}:
	case <-ctx.Done():
		return store.Page{}, context.Cause(ctx)
	}
	defer func() { <-l.running }()
	return l.history.Read(ctx, t.name, part)
}

// erasures counts what was erased. It takes the topic's lock.
func (f *feed) erasures() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.erased
}

// sendUnless has m sent, unless something was erased since there were so many erasures. It
// takes the topic's lock.
func (f *feed) sendUnless(erasures int, m *wire.Message, send func(*wire.Message)) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.erased != erasures {
		return false
	}
	send(m)
	return true
}
