package chaos

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-chime/chime/store"
)

// ledger is what one client has seen of one topic, in the order in which it came. It
// is compared with the history when all is over.
type ledger struct {
	client, topic string
	placed        bool // messages come with their offsets
	stage         *stage

	mu    sync.Mutex // guards what follows
	in    bool
	pos   *store.Position // nil before the first join
	notes []note
	hums  map[string]map[int]bool // numbers of the ephemeral messages, by who said them
	last  map[string]int
	stays [][]said // what came in each join, if it came without offsets
}

// note is the reply to a join, or a retained message.
type note struct {
	at        time.Time
	offset    uint64
	what      said            // "" for a join
	since     *store.Position // of the join
	recovered bool
}

func newLedger(client, topic string, placed bool, s *stage) *ledger {
	return &ledger{client: client, topic: topic, placed: placed, stage: s, hums: map[string]map[int]bool{}, last: map[string]int{}}
}

// begin takes the reply to a join from a position.
func (l *ledger) begin(r reply, since *store.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in = true
	if l.stage.world.ailed(time.Now()) { // what a former node has announced this one may announce yet
		clear(l.hums)
		clear(l.last)
	}
	if !l.placed {
		l.stays = append(l.stays, nil)
		return
	}
	if !l.retained() {
		return
	}
	h := r.Response.History
	switch {
	case h == nil:
		l.blame("the reply to a join has no @history")
		return
	case since == nil && h.Recovered != nil && !*h.Recovered && l.stage.world.ailed(time.Now()): // the history can't be read
	case (since == nil) != (h.Recovered == nil):
		l.blame("joined with @since %v, and the reply has recovered %v", since, h.Recovered)
	case since != nil && *h.Recovered && h.Offset != since.Offset:
		l.blame("joined with @since %d, and the reply says %d and recovered", since.Offset, h.Offset)
	}
	l.pos = &store.Position{Epoch: h.Epoch, Offset: h.Offset}
	l.notes = append(l.notes, note{at: time.Now(), offset: h.Offset, since: since, recovered: h.Recovered != nil && *h.Recovered})
}

func (l *ledger) retained() bool { return isRetained(l.topic) }

// see takes a message, with its offset, or 0 for one that was not retained.
func (l *ledger) see(offset uint64, payload []byte) {
	what, err := parseSaid(payload)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.blame("%v", err)
	case !l.in:
		l.blame("%v came outside of a join", what)
	case !l.placed:
		if !l.isNew(what) {
			l.blame("%v came twice", what)
		}
		l.stays[len(l.stays)-1] = append(l.stays[len(l.stays)-1], what)
	case offset == 0:
		l.hear(what)
	case l.pos == nil || !l.retained():
		l.blame("%v came with an offset and without a history", what)
	default:
		l.pos.Offset = offset
		l.notes = append(l.notes, note{at: time.Now(), offset: offset, what: what})
	}
}

// hear takes an ephemeral message: it comes at most once. Those of one publisher are in
// order; those of a client need not be, since it may say one in a join of which the
// server has not taken leave, and the next in another. l.mu is held.
func (l *ledger) hear(what said) {
	if !l.isNew(what) {
		l.blame("%v came twice", what)
	}
	if isPublisher(what.By) {
		if what.N < l.last[what.By] {
			l.blame("%v came behind %d", what, l.last[what.By])
		}
		l.last[what.By] = what.N
	}
}

// isNew notes what was said, and reports whether it had not come before. l.mu is held.
func (l *ledger) isNew(what said) bool {
	heard := l.hums[what.By]
	if heard == nil {
		heard = map[int]bool{}
		l.hums[what.By] = heard
	}
	was := heard[what.N]
	heard[what.N] = true
	return !was
}

// end ends the join.
func (l *ledger) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in = false
}

// blame is fault, for this ledger. l.mu is held.
func (l *ledger) blame(format string, args ...any) {
	l.stage.fault("%s in %s: %s", l.client, l.topic, fmt.Sprintf(format, args...))
}

// position is the place behind the last that was seen, or nil.
func (l *ledger) position() *store.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pos == nil {
		return nil
	}
	p := *l.pos
	return &p
}

// forget has the next join be a first one.
func (l *ledger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pos = nil
}

// isAt reports whether the client is in the topic, and has seen the last of its messages.
func (l *ledger) isAt(last top) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.in || !l.retained():
		return l.in
	case !l.placed: // of a join in which nothing came, nothing says what was before it
		stay := l.stays[len(l.stays)-1]
		return slices.Contains(stay, last.what) || !slices.ContainsFunc(stay, func(what said) bool { return last.all[what] })
	}
	return l.pos != nil && l.pos.Offset >= last.offset
}

// sums are what the ledgers of a run have in them.
type sums struct{ seen, joins, recovered, gaps, unread, beyond int }

// wantAll compares what was seen with the history: each message after the position at
// which a join began, once and in order. Where the server says that there is a gap,
// there has to be more than it promises to send again.
func (l *ledger) wantAll(history []retained, sum *sums) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.placed {
		l.wantStays(history, sum)
		return
	}
	index := map[uint64]int{0: 0} // of the message after an offset
	for i, m := range history {
		index[m.Offset] = i + 1
	}
	next, faults := 0, 0
	beyond := false // the last that was seen is not there
	for i, n := range l.notes {
		switch after, known := index[n.offset]; {
		case n.what.By == "":
			sum.joins++
			switch {
			case n.since == nil:
			case n.recovered:
				sum.recovered++
				if after < next && l.sawAfter(i, n.offset) {
					l.blame("joined from %d again, and had seen what came after it", n.offset)
				} else if after > next {
					l.blame("joined from %d, and had seen up to %d", n.offset, offsetAt(history, next))
				}
			default:
				sum.gaps++
				if reason := noGap(history, n); reason == "" {
				} else if l.stage.world.ailed(n.at) { // the history could not be read
					sum.unread++
				} else {
					l.blame("%s", reason)
				}
			}
			// Where nobody knows yet what was lost, a join may begin there.
			if beyond = !known; beyond && !l.stage.world.loses() {
				l.blame("a join begins at %d, where nothing is", n.offset)
			}
			next = after
		case !known && l.stage.world.loses():
			sum.beyond++
			beyond = true
		case beyond:
			l.blame("note %d: got %v at %d, after what was lost, and was not told", i, n.what, n.offset)
			beyond, next = false, after
		case next >= len(history), history[next].Offset != n.offset, history[next].What != n.what:
			l.blame("note %d: got %v at %d after %d, want what is at %d", i, n.what, n.offset, offsetAt(history, next), offsetAt(history, next+1))
			if faults++; faults == 3 {
				return
			}
			next = index[n.offset]
		default:
			sum.seen++
			next++
		}
	}
	if l.in && beyond {
		l.blame("has seen what was lost, and was not told")
	} else if l.in && next != len(history) {
		l.blame("has seen up to %d, want %d", offsetAt(history, next), offsetAt(history, len(history)))
	}
}

// wantStays wants that what was retained came in the order of the history, with nothing
// missing, from the first that came in a join to the last. l.mu is held.
func (l *ledger) wantStays(history []retained, sum *sums) {
	index := map[said]int{}
	for i, m := range history {
		index[m.What] = i
	}
	for i, stay := range l.stays {
		sum.joins++
		next := -1
		for _, what := range stay {
			at, retained := index[what]
			switch {
			case !retained:
			case next >= 0 && at != next:
				l.blame("%v came where %v was to come", what, history[min(next, len(history)-1)].What)
				next = at + 1
			default:
				sum.seen++
				next = at + 1
			}
		}
		if l.in && i == len(l.stays)-1 && next >= 0 && next != len(history) {
			l.blame("has seen up to %v, want %v", history[next-1].What, history[len(history)-1].What)
		}
	}
}

// sawAfter reports whether a message beyond an offset is among the first notes.
func (l *ledger) sawAfter(notes int, offset uint64) bool {
	for _, n := range l.notes[:notes] {
		if n.what.By != "" && n.offset > offset {
			return true
		}
	}
	return false
}

// noGap says why a join that was told of a gap need not have been: no more came after its
// position than a join is sent. It is "" if more came.
func noGap(history []retained, n note) string {
	const mostMessages, mostBytes = 500, 1 << 20
	messages, bytes := 0, 0
	for _, m := range history {
		if m.Offset > n.since.Offset && !m.At.After(n.at) {
			messages++
			bytes += m.Bytes
		}
	}
	if messages > mostMessages || bytes > mostBytes {
		return ""
	}
	return fmt.Sprintf("joined from %d, and was not recovered, though no more than %d messages of %d bytes came after it", n.since.Offset, messages, bytes)
}

// offsetAt is that of the message before an index.
func offsetAt(history []retained, index int) uint64 {
	if index == 0 || index > len(history) {
		return 0
	}
	return history[index-1].Offset
}
