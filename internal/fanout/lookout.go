package fanout

import (
	"context"
	"math"
	"time"

	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/store"
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

// lookout looks whether announcements of a topic are missing, as long as somebody suspects it.
// Its methods are called with the topic's lock held, unless they say that they take it.
type lookout struct {
	feed   *feed
	checks *Checks
	found  *stats.Causes[stats.Find]

	suspect  bool        // announcements may be missing
	said     bool        // by the broker, and not looked into yet
	checking bool        // that is looked into, or waits for it
	top      mark        // what had been announced when that was begun
	back     bool        // the history was found to end before that: it is looked at once more
	failures int         // of that, in a row
	again    *time.Timer // has it looked into once more
}

// check has it looked into whether announcements are missing, erasures among them: what is
// read meanwhile is read again.
func (l *lookout) check() {
	l.feed.reader.outdate()
	l.said = true
	l.doubt()
}

// doubt is check where no erasure is missing. What is read meanwhile is good: what it does
// not have the look finds. In a topic where much is published it would be read without end.
func (l *lookout) doubt() {
	l.suspect = true
	if !l.checking {
		l.checking = true
		l.checks.add(l)
	}
}

// count takes note of what was missing, unless somebody had said so.
func (l *lookout) count(by stats.Find) {
	if !l.said && l.found != nil {
		l.found.Add(by)
	}
}

// forgive has the failures up to now not count.
func (l *lookout) forgive() { l.failures = 0 }

// look reads where the top is, until nothing was suspected meanwhile. It takes the topic's lock.
func (l *lookout) look() {
	f := l.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.reader.claim(context.Background()) // or what it has read may be older than what another has
	defer f.reader.release()
	for l.suspect && !f.closed {
		l.start()
		ctx, cancel := context.WithTimeout(l.checks.ctx, lookFor)
		_, page, err := f.reader.fetch(ctx, topAlone)
		cancel()
		if !l.judge(store.Position{Epoch: page.Epoch, Offset: page.Top}, err) {
			return
		}
	}
	l.checking = false
}

// begin claims the history for a look at where the tops of many topics are, and reports false if
// that would have to wait. It takes the topic's lock, as end does; between the two that is not held.
func (l *lookout) begin() bool {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	if !l.feed.reader.tryClaim() {
		return false
	}
	l.start()
	return true
}

// start takes note of what had been announced before a look. Of one that is repeated, since
// the history ended before that, the first counts.
func (l *lookout) start() {
	if l.suspect = false; !l.back {
		l.top = l.feed.tail.mark(time.Now())
	}
}

// end takes what was found since begin.
func (l *lookout) end(top store.Position, err error) {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	l.feed.reader.release()
	switch {
	case !l.judge(top, err):
	case l.suspect && !l.feed.closed:
		l.checks.add(l)
	default:
		l.checking = false
	}
}

// judge says what it means where the top was found, or that it can't be read. It reports
// false if that is to be tried again later.
func (l *lookout) judge(top store.Position, err error) bool {
	f := l.feed
	switch {
	case f.closed:
	case err != nil:
		if l.failures == len(retries) && f.tail.known() { // until then the members are sent what is announced
			f.giveUp(err)
		}
		l.failures = min(l.failures+1, len(retries))
		l.later(retries[l.failures-1])
		return false
	case !f.tail.known():
		f.recall() // whoever joins reads it
	case top.Epoch == f.tail.epoch && l.top.behind(top.Offset) && !l.back: // a replica that answers may not know all yet
		l.back = true
		l.later(settle)
		return false
	case top.Epoch != f.tail.epoch, l.top.behind(top.Offset):
		l.count(stats.ByLook)
		f.renew(top.Epoch, top.Offset)
	case top.Offset > f.tail.top:
		l.count(stats.ByLook)
		f.skip(top.Offset)
	}
	l.failures, l.back, l.said = 0, false, l.said && l.suspect
	return true
}

// later has it looked into once more.
func (l *lookout) later(pause time.Duration) {
	l.suspect = true
	l.again = l.checks.tasks.After(pause, func() { l.checks.add(l) })
}

// close ends what is left to do: nobody reads any more.
func (l *lookout) close() {
	if l.again != nil {
		l.again.Stop()
	}
}
