package channel

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// history is a topic as one would explain it: all that was ever said, and what
// became of each. It is slow, and obviously right.
type history struct {
	entries   []told
	keep      store.Retention
	announced int // how many of the entries
	aged      int // how many of them
}

type told struct {
	offset    uint64
	size      int
	at        time.Time
	lost      bool // trimmed, aged or forgotten
	forgotten bool
	redacted  bool
	gone      bool // whoever joins from now on must not get it
}

func (e told) kept() bool { return !e.lost && !e.redacted }

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
			e.lost = true
			e.gone = h.aged < h.announced // else it is still to come, however late
		}
		h.aged++
	}
}

func (h *history) append(e told, keep store.Retention) {
	h.age()
	h.entries, h.keep = append(h.entries, e), keep
	n := 0
	for i := len(h.entries) - 1; i >= 0 && !h.entries[i].lost; i-- {
		if e := &h.entries[i]; e.kept() {
			if n++; keep.Keep > 0 && n > keep.Keep {
				e.lost = true
			}
		}
	}
}

// after returns what is kept after an offset, and whether nothing of it is lost.
func (h *history) after(offset uint64) (list []told, complete bool) {
	complete = offset <= h.top()
	for _, e := range h.entries {
		switch {
		case e.offset <= offset:
		case e.lost:
			complete = false
		case e.kept():
			list = append(list, e)
		}
	}
	return list, complete
}

// newest returns the last n that are kept.
func (h *history) newest(n int) []told {
	var list []told
	bytes := 0
	for i := len(h.entries) - 1; i >= 0 && len(list) < n; i-- {
		if e := h.entries[i]; e.kept() {
			if bytes += e.size; bytes > maxReplayBytes && len(list) > 0 {
				break
			}
			list = append(list, e)
		}
	}
	slices.Reverse(list)
	return list
}

// asked is what a join asks for.
type asked struct {
	since  *store.Position
	last   int // -1: not asked
	replay int // of the channel
}

func (a asked) wanted() int {
	if a.last >= 0 {
		return min(a.last, maxReplay)
	}
	return a.replay
}

func (a asked) String() string {
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
func (h *history) replay(a asked, epoch string) (list []told, recovered bool) {
	if a.since != nil && a.since.Epoch == epoch {
		list, complete := h.after(a.since.Offset)
		bytes := 0
		for _, e := range list {
			bytes += e.size
		}
		if complete && len(list) <= maxReplay && (bytes <= maxReplayBytes || len(list) == 1) {
			return list, true
		}
	}
	return h.newest(a.wanted()), false
}

// model is the reference: what is in every topic.
type model struct {
	mu     sync.Mutex // guards the histories: writers are goroutines
	topics map[string]*history
}

func (m *model) of(topic string) *history {
	h := m.topics[topic]
	if h == nil {
		h = &history{}
		m.topics[topic] = h
	}
	return h
}

func (m *model) kept(topic string, msg store.Message, keep store.Retention) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(topic).append(told{offset: msg.Offset, size: len(msg.Payload), at: msg.At}, keep)
}

func (m *model) said(topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.of(topic)
	h.announced++
	for i := h.announced - 1; i >= 0 && !(h.entries[i].gone && h.entries[i].lost); i-- {
		// Until its successor was announced, one that was trimmed may be had
		// from where announcements are kept.
		if e := &h.entries[i]; e.lost && !e.forgotten {
			e.gone = true
		}
	}
}

func (m *model) forgot(topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.of(topic)
	h.age()
	for i := range h.entries {
		h.entries[i].lost, h.entries[i].forgotten = true, true
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
func (m *model) erased(topic string, gone func(told) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range m.of(topic).entries {
		if gone(e) {
			m.topics[topic].entries[i].gone = true
		}
	}
}

// gone says what whoever joins now must not get any more.
func (h *history) gone() map[uint64]bool {
	h.age()
	list := map[uint64]bool{}
	for _, e := range h.entries {
		if e.gone {
			list[e.offset] = true
		}
	}
	return list
}

// view is what a client has been sent of one join. Everything in it is checked
// as it comes.
type view struct {
	topic string
	ref   string
	asked asked
	gone  map[uint64]bool
	exact bool   // nothing else happens until it is replied to:
	want  []told // then this is replayed
	sure  bool   // and then this is the end of the story: recovered

	unread   bool // a read of the store has failed, and may have been for it
	less     bool // it has been told that it gets less for that
	reply    *wire.History
	placed   bool   // pos is known
	pos      uint64 // everything that is kept up to here was sent, from where the replay began
	replayed int
	chatter  map[string]bool // the ephemeral events it has got
	ended    string          // why it gets nothing more; "" while it does
}

// replied takes the reply to the join.
func (v *view) replied(h *history, r *wire.History) string {
	v.reply, v.chatter = r, map[string]bool{}
	recovered := r.Recovered != nil && *r.Recovered
	v.less = v.unread && r.Recovered != nil && !recovered
	if (r.Recovered != nil) != (v.asked.since != nil || v.less) {
		return fmt.Sprintf("recovered is there: %t, a position was asked for: %t", r.Recovered != nil, v.asked.since != nil)
	}
	if v.less && v.asked.since == nil && r.Count > 0 {
		return fmt.Sprintf("%d are to be replayed, though nothing could be read", r.Count)
	}
	switch {
	case v.less:
	case recovered:
		v.pos, v.placed = v.asked.since.Offset, true
	case r.Count == 0:
		v.pos, v.placed = r.Offset, true
	}
	if v.exact && (r.Offset != h.top() || r.Count != len(v.want) || recovered != v.sure) {
		return fmt.Sprintf("got the cut %d, %d to be replayed, recovered %t, want %d, %d, %t", r.Offset, r.Count, recovered, h.top(), len(v.want), v.sure)
	}
	if !recovered && !v.less {
		// What was there when it was asked for and is there now was there meanwhile.
		before := history{entries: slices.DeleteFunc(slices.Clone(h.entries), func(e told) bool { return e.offset > r.Offset })}
		if least := len(before.newest(v.asked.wanted())); r.Count < least || r.Count > v.asked.wanted() {
			return fmt.Sprintf("%d are to be replayed, want %d to %d", r.Count, least, v.asked.wanted())
		}
	}
	return ""
}

// got takes a retained message.
func (v *view) got(h *history, o uint64) string {
	if !v.placed {
		v.pos, v.placed = o-1, true
	}
	switch missed := v.missed(h, o-1); {
	case len(missed) > 0:
		return fmt.Sprintf("got %d without %d", o, missed[0].offset)
	case o <= v.pos:
		return fmt.Sprintf("got %d after %d", o, v.pos)
	case v.gone[o]:
		return fmt.Sprintf("got %d, which was gone when it joined", o)
	}
	v.pos = o
	if o > v.reply.Offset {
		if v.replayed != v.reply.Count {
			return fmt.Sprintf("got %d live after %d of %d were replayed", o, v.replayed, v.reply.Count)
		}
		return ""
	}
	v.replayed++
	switch {
	case v.replayed > v.reply.Count:
		return fmt.Sprintf("%d is replayed beyond the %d of the reply", o, v.reply.Count)
	case v.exact && v.want[v.replayed-1].offset != o:
		return fmt.Sprintf("got %d, want %d as number %d of the replay", o, v.want[v.replayed-1].offset, v.replayed)
	}
	return ""
}

// missed are the entries up to an offset that it should have been sent.
func (v *view) missed(h *history, upTo uint64) (list []told) {
	if !v.placed {
		return nil
	}
	i, _ := slices.BinarySearchFunc(h.entries, v.pos+1, func(e told, o uint64) int { return cmp.Compare(e.offset, o) })
	for ; i < len(h.entries) && h.entries[i].offset <= upTo; i++ {
		if !h.entries[i].redacted {
			list = append(list, h.entries[i])
		}
	}
	return list
}

// live reports whether it has all that was announced.
func (v *view) live(h *history) bool {
	return v != nil && v.reply != nil && v.ended == "" && v.placed && v.replayed == v.reply.Count && len(v.missed(h, h.announcedTop())) == 0
}

// overtaken reports whether something that it has yet to get is lost.
func (v *view) overtaken(h *history) bool {
	for _, e := range h.entries {
		if e.offset > v.pos && e.lost {
			return true
		}
	}
	return v.unread
}
