package channel

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// history is a topic as one would explain it: all that was ever said, and what
// became of each. It is slow, and obviously right.
type history struct {
	entries   []record
	keep      store.Retention
	announced int  // how many of the entries
	aged      int  // how many of them
	late      bool // of the model
}

type record struct {
	offset    uint64
	size      int
	at        time.Time
	dropped   bool // trimmed, aged or forgotten
	forgotten bool
	redacted  bool
	removed   bool // whoever joins from now on must not get it
}

func (e record) kept() bool { return !e.dropped && !e.redacted }

func (h *history) top() uint64 {
	if len(h.entries) == 0 {
		return 0
	}
	return h.entries[len(h.entries)-1].offset
}

func (h *history) announcedTop() uint64 {
	if h.announced == 0 {
		return 0
	}
	return h.entries[h.announced-1].offset
}

// age drops what is too old by now.
func (h *history) age() {
	for h.keep.Age > 0 && h.aged < len(h.entries) && time.Since(h.entries[h.aged].at) >= h.keep.Age {
		if e := &h.entries[h.aged]; e.kept() {
			e.dropped = true
			e.removed = h.aged < h.announced && !h.late // else it is still to come, however late
		}
		h.aged++
	}
}

func (h *history) append(e record, keep store.Retention) {
	h.age()
	h.entries, h.keep = append(h.entries, e), keep
	n := 0
	for i := len(h.entries) - 1; i >= 0 && !h.entries[i].dropped; i-- {
		if e := &h.entries[i]; e.kept() {
			if n++; keep.Keep > 0 && n > keep.Keep {
				e.dropped = true
			}
		}
	}
}

// after returns what is kept after an offset, and whether nothing of it is lost.
func (h *history) after(offset uint64) (list []record, complete bool) {
	complete = offset <= h.top()
	for _, e := range h.entries {
		switch {
		case e.offset <= offset:
		case e.dropped:
			complete = false
		case e.kept():
			list = append(list, e)
		}
	}
	return list, complete
}

// newest returns the last n that are kept.
func (h *history) newest(n int) []record { return h.newestOf(n, record.kept) }

func (h *history) newestOf(n int, is func(record) bool) []record {
	var list []record
	bytes := 0
	for i := len(h.entries) - 1; i >= 0 && len(list) < n; i-- {
		if e := h.entries[i]; is(e) {
			if bytes += e.size; bytes > replayBytes && len(list) > 0 {
				break
			}
			list = append(list, e)
		}
	}
	slices.Reverse(list)
	return list
}

// replayBytes is what a join is replayed at most, in bytes of payload.
const replayBytes = 1 << 20

// wish is what a join asks for.
type wish struct {
	since  *store.Position
	last   int // -1: not asked
	replay int // of the channel
}

func (a wish) wanted() int {
	if a.last >= 0 {
		return min(a.last, fanout.MaxReplay)
	}
	return a.replay
}

func (a wish) String() string {
	switch {
	case a.since != nil && a.last >= 0:
		return fmt.Sprintf(`{"@since":{"epoch":%q,"offset":%d},"@last":%d}`, a.since.Epoch, a.since.Offset, a.last)
	case a.since != nil:
		return fmt.Sprintf(`{"@since":{"epoch":%q,"offset":%d}}`, a.since.Epoch, a.since.Offset)
	case a.last >= 0:
		return fmt.Sprintf(`{"@last":%d}`, a.last)
	}
	return "{}"
}

// replay is what a join must get, if nothing else happens meanwhile.
func (h *history) replay(a wish, epoch string) (list []record, recovered bool) {
	if a.since != nil && a.since.Epoch == epoch {
		list, complete := h.after(a.since.Offset)
		bytes := 0
		for _, e := range list {
			bytes += e.size
		}
		if complete && len(list) <= fanout.MaxReplay && (bytes <= replayBytes || len(list) == 1) {
			return list, true
		}
	}
	return h.newest(a.wanted()), false
}

// model is the reference: what is in every topic.
type model struct {
	mu     sync.Mutex // guards the histories: writers are goroutines
	topics map[string]*history
	late   bool // announcements may be late or lost: what was trimmed may be in memory for long
}

func (m *model) of(topic string) *history {
	h := m.topics[topic]
	if h == nil {
		h = &history{late: m.late}
		m.topics[topic] = h
	}
	return h
}

func (m *model) kept(topic string, msg store.Message, keep store.Retention) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(topic).append(record{offset: msg.Offset, size: len(msg.Payload), at: msg.At}, keep)
}

func (m *model) said(topic string, offset uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.of(topic)
	for h.announced < len(h.entries) && h.entries[h.announced].offset <= offset {
		h.announced++
	}
	if m.late {
		return
	}
	after := 0 // announced messages that count against what is kept
	for i := h.announced - 1; i >= 0 && !(h.entries[i].removed && h.entries[i].dropped); i-- {
		// Until those that push it out were announced, one that was trimmed may be
		// had from where announcements are kept.
		e := &h.entries[i]
		if e.dropped && !e.forgotten && h.keep.Keep > 0 && after >= h.keep.Keep {
			e.removed = true
		}
		if !e.redacted {
			after++
		}
	}
}

func (m *model) forgot(topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.of(topic)
	h.age()
	for i := range h.entries {
		h.entries[i].dropped, h.entries[i].forgotten = true, true
	}
}

func (m *model) redacted(topic string, offset uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range m.of(topic).entries {
		if e.offset == offset {
			m.topics[topic].entries[i].redacted = true
		}
	}
}

// erased marks what is gone for good.
func (m *model) erased(topic string, removed func(record) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range m.of(topic).entries {
		if removed(e) {
			m.topics[topic].entries[i].removed = true
		}
	}
}

// removed says what whoever joins now must not get any more.
func (h *history) removed() map[uint64]bool {
	h.age()
	list := map[uint64]bool{}
	for _, e := range h.entries {
		if e.removed {
			list[e.offset] = true
		}
	}
	return list
}

// view is what a client has been sent of one join. Everything in it is checked
// as it comes.
type view struct {
	topic   string
	ref     string
	ask     wish
	removed map[uint64]bool
	exact   bool     // nothing else happens until it is replied to:
	want    []record // then this is replayed
	sure    bool     // and then this is the end of the story: recovered

	unread  bool   // a read of the store has failed, and may have been for it
	less    bool   // it has been told that it gets less for that
	top     uint64 // up to which everything was announced when it was asked for
	reply   *wire.History
	pos     uint64          // everything that is kept up to here was sent, from where the join began
	excused uint64          // it was told that it is not sent what is kept up to here
	chatter map[string]bool // the ephemeral events it has got
	ended   string          // why it gets nothing more; "" while it does
}

// replied takes the reply to the join, which says where it begins.
func (v *view) replied(h *history, r *wire.History) string {
	v.reply, v.chatter = r, map[string]bool{}
	recovered := r.Recovered != nil && *r.Recovered
	v.less = v.unread && r.Recovered != nil && !recovered
	if v.pos = r.Offset; v.less && v.pos == 0 { // nobody could say where the topic ended
		v.excused = h.top()
	}
	switch {
	case (r.Recovered != nil) != (v.ask.since != nil || v.less):
		return fmt.Sprintf("recovered is there: %t, a position was asked for: %t", r.Recovered != nil, v.ask.since != nil)
	case recovered && r.Offset != v.ask.since.Offset:
		return fmt.Sprintf("it begins at %d, want the position %d that is recovered", r.Offset, v.ask.since.Offset)
	case v.less || recovered && !v.exact:
		return ""
	}
	after := func(is func(record) bool) (n int) {
		for _, e := range h.entries {
			if e.offset > r.Offset && is(e) {
				n++
			}
		}
		return n
	}
	if v.exact {
		if n := after(record.kept); n != len(v.want) || recovered != v.sure {
			return fmt.Sprintf("it begins at %d, %d before the end, recovered %t, want %d and %t", r.Offset, n, recovered, len(v.want), v.sure)
		}
	}
	if recovered {
		return ""
	}
	// What was there when it was asked for and is there now was there meanwhile. What
	// has been redacted meanwhile may have taken room.
	notDropped := func(e record) bool { return !e.dropped }
	least := min(len(h.newest(v.ask.wanted())), len(h.newestOf(v.ask.wanted(), notDropped)))
	if n := after(notDropped); n < least {
		return fmt.Sprintf("it begins at %d, %d before the end, want %d at least", r.Offset, n, least)
	}
	if n := after(func(e record) bool { return e.kept() && e.offset <= v.top }); n > v.ask.wanted() {
		return fmt.Sprintf("it begins at %d, %d before what was announced, want %d at most", r.Offset, n, v.ask.wanted())
	}
	return ""
}

// got takes a retained message.
func (v *view) got(h *history, o uint64) string {
	switch missed := v.missed(h, o-1); {
	case len(missed) > 0:
		return fmt.Sprintf("got %d without %d", o, missed[0].offset)
	case o <= v.pos:
		return fmt.Sprintf("got %d after %d", o, v.pos)
	case v.removed[o]:
		return fmt.Sprintf("got %d, which was gone when it joined", o)
	}
	v.pos = o
	return ""
}

// missed are the entries up to an offset that it should have been sent.
func (v *view) missed(h *history, upTo uint64) (list []record) {
	i, _ := slices.BinarySearchFunc(h.entries, max(v.pos, v.excused)+1, func(e record, o uint64) int { return cmp.Compare(e.offset, o) })
	for ; i < len(h.entries) && h.entries[i].offset <= upTo; i++ {
		if !h.entries[i].redacted {
			list = append(list, h.entries[i])
		}
	}
	return list
}

// live reports whether it has all that was announced.
func (v *view) live(h *history) bool {
	return v != nil && v.reply != nil && v.ended == "" && len(v.missed(h, h.announcedTop())) == 0
}

// overtaken reports whether something that it has yet to get is lost.
func (v *view) overtaken(h *history) bool {
	for _, e := range h.entries {
		if e.offset > v.pos && e.dropped {
			return true
		}
	}
	return v.unread
}
