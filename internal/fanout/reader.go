package fanout

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/store"
)

const (
	// A page is what one look at the history takes, for a member that is behind.
	pageMessages = 100
	pageBytes    = 256 << 10
	// The first join reads some of the newest messages, for itself and for others.
	firstMessages = 64
)

// retries are how long a topic waits to look again for announcements that are missing,
// where the history could not be read. After that its members fail.
var retries = [...]time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second}

const (
	// lookFor bounds a look: a broker that hangs must not keep all others from looking.
	lookFor = 10 * time.Second

	// settle is how long an engine may take until all who answer for it know the same.
	settle = time.Second
)

// topAlone reads no message.
var topAlone = store.Range{After: math.MaxUint64}

// reader reads the history of a topic: pages for members that are behind, where
// joins begin, and whether announcements are missing. What it reads it leaves in
// the tail, as far as it meets that. It knows no members. Its methods are called
// with the topic's lock held, and give that up while they wait and while they read.
type reader struct {
	topic   *Topic
	history broker.History
	checks  *Checks
	found   *stats.Causes[stats.Find]
	first   int           // how many of the newest are read first
	reading chan struct{} // full while something is read for a member

	// Guarded by topic.mu.
	stale    int              // counts what makes a page stale that is read meanwhile
	erased   []store.Position // of messages that were, since a read began
	suspect  bool             // announcements may be missing
	said     bool             // by the broker, and not looked into yet
	checking bool             // that is looked into, or waits for it
	top      mark             // what had been announced when that was begun
	back     bool             // the history was found to end before that: it is looked at once more
	failures int              // of that, in a row
	again    *time.Timer      // has it looked into once more
}

func newReader(t *Topic, c Config) *reader {
	return &reader{topic: t, history: c.History, checks: c.Checks, found: c.Found, first: max(firstMessages, c.Replay), reading: make(chan struct{}, 1)}
}

// claim waits until nothing is read for another member of this topic.
func (r *reader) claim(ctx context.Context) error {
	r.topic.mu.Unlock()
	defer r.topic.mu.Lock()
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
	if r.topic.tail.reaches(after) {
		return nil, store.Page{}, nil
	}
	return r.read(ctx, store.Range{After: after, Limit: pageMessages, Bytes: pageBytes})
}

// read reads a part of the history, and leaves in the tail what meets it, which owns the
// entries where the newest were asked for. It is claimed.
func (r *reader) read(ctx context.Context, part store.Range) ([]entry, store.Page, error) {
	t := r.topic
	for {
		stale := r.stale
		r.erased = nil
		entries, page, err := r.fetch(ctx, part)
		switch {
		case err != nil:
			return nil, page, err
		case r.stale != stale: // it may have what was forgotten, or not what is missing
			continue
		case t.closed:
			return entries, page, nil
		}
		for _, e := range entries {
			t.copies.whole(e.m.Event, e.m.Payload(), store.Position{Epoch: page.Epoch, Offset: e.m.Offset})
		}
		entries = slices.DeleteFunc(entries, func(e entry) bool {
			return slices.Contains(r.erased, store.Position{Epoch: page.Epoch, Offset: e.m.Offset})
		})
		t.recall()
		if t.tail.known() && page.Epoch != t.tail.epoch {
			t.renew(page.Epoch, page.Top)
		}
		t.tail.take(entries, part, page)
		t.tail.giveUp(r.outdone(page))
		t.budget.charge(t)
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
	r.topic.mu.Unlock()
	defer r.topic.mu.Lock()
	page, err := r.history.Read(ctx, r.topic.name, part)
	return entriesOf(r.topic.name, page.Messages), page, err
}

// erase takes note of what a page that is read meanwhile may still have.
func (r *reader) erase(at store.Position) {
	switch {
	case at.Offset == 0:
		r.stale++
	case len(r.reading) > 0: // else no page is
		r.erased = append(r.erased, at)
	}
}

// check has it looked into whether announcements are missing, erasures among them: what is
// read meanwhile is read again.
func (r *reader) check() {
	r.stale++
	r.said = true
	r.doubt()
}

// count takes note of what was missing, unless somebody had said so.
func (r *reader) count(by stats.Find) {
	if !r.said && r.found != nil {
		r.found.Add(by)
	}
}

// doubt is check where no erasure is missing. What is read meanwhile is good: what it does
// not have the look finds. In a topic where much is published it would be read without end.
func (r *reader) doubt() {
	r.suspect = true
	if !r.checking {
		r.checking = true
		r.checks.add(r)
	}
}

// look reads where the top is, until nothing was suspected meanwhile. The topic's
// lock is not held.
func (r *reader) look() {
	t := r.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = r.claim(context.Background()) // or what it has read may be older than what another has
	defer r.release()
	for r.suspect && !t.closed {
		r.start()
		ctx, cancel := context.WithTimeout(context.Background(), lookFor)
		_, page, err := r.fetch(ctx, topAlone)
		cancel()
		if !r.judge(store.Position{Epoch: page.Epoch, Offset: page.Top}, err) {
			return
		}
	}
	r.checking = false
}

// begin claims r for a look at where the tops of many topics are, and reports false if
// that would have to wait. The topic's lock is not held, nor for end.
func (r *reader) begin() bool {
	r.topic.mu.Lock()
	defer r.topic.mu.Unlock()
	select {
	case r.reading <- struct{}{}:
		r.start()
		return true
	default:
		return false
	}
}

// start takes note of what had been announced before a look. Of one that is repeated, since
// the history ended before that, the first counts.
func (r *reader) start() {
	if r.suspect = false; !r.back {
		r.top = r.topic.tail.mark(time.Now())
	}
}

// end takes what was found since begin.
func (r *reader) end(top store.Position, err error) {
	r.topic.mu.Lock()
	defer r.topic.mu.Unlock()
	r.release()
	switch {
	case !r.judge(top, err):
	case r.suspect && !r.topic.closed:
		r.checks.add(r)
	default:
		r.checking = false
	}
}

// judge says what it means where the top was found, or that it can't be read. It reports
// false if that is to be tried again later.
func (r *reader) judge(top store.Position, err error) bool {
	t := r.topic
	switch {
	case t.closed:
	case err != nil:
		if r.failures == len(retries) && t.tail.known() { // until then the members are sent what is announced
			r.giveUp(err)
		}
		r.failures = min(r.failures+1, len(retries))
		r.later(retries[r.failures-1])
		return false
	case !t.tail.known():
		t.recall() // whoever joins reads it
	case top.Epoch == t.tail.epoch && r.top.behind(top.Offset) && !r.back: // a replica that answers may not know all yet
		r.back = true
		r.later(settle)
		return false
	case top.Epoch != t.tail.epoch, r.top.behind(top.Offset):
		r.count(stats.ByLook)
		t.renew(top.Epoch, top.Offset)
	case top.Offset > t.tail.top:
		r.count(stats.ByLook)
		t.skip(top.Offset)
	}
	r.failures, r.back, r.said = 0, false, r.said && r.suspect
	return true
}

// giveUp fails all members: never a gap in silence. Those who join from then on are sent
// nothing of the history until a look finds where it ends.
func (r *reader) giveUp(why error) {
	t := r.topic
	t.tail.reset("", 0)
	t.waits.release(math.MaxUint64)
	t.budget.charge(t)
	t.members.failAll(fmt.Errorf("announcements are missing, and the history can't be read: %w", why))
}

// later has it looked into once more.
func (r *reader) later(pause time.Duration) {
	r.suspect = true
	r.again = time.AfterFunc(pause, func() { r.checks.add(r) })
}

// close ends what is left to do: nobody reads any more.
func (r *reader) close() {
	if r.again != nil {
		r.again.Stop()
	}
}

// endOf is the position behind a page.
func endOf(p store.Page) uint64 {
	if p.More {
		return p.Messages[len(p.Messages)-1].Offset
	}
	return p.Top
}
