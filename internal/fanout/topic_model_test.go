package fanout

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// The reference: all that was retained, and what became of each. A member is sent
// all that follows its start, once and in order, but for what was redacted. Or it
// fails, for a reason that there is: something that it has not had is lost, its
// epoch has ended, or a read has failed.
func TestATopicAtRandom(t *testing.T) {
	need.Bubbles(t, 100, 400, func(t *testing.T, seed uint64) {
		m := newModel(t, seed)
		for range 200 {
			m.step()
		}
		m.settle()
	})
}

type model struct {
	*world
	t       *testing.T
	r       *rand.Rand
	other   *Topic // takes of the budget too
	readers []*reading
	joins   int
	said    int // ephemeral
	late    []broker.Publication
	missing bool
	former  string // the epoch before
	failing bool   // reads fail
	failed  bool   // some have

	mu      sync.Mutex // guards what follows: it is asked with the topic's lock held
	kept    []kept
	members map[string]*watched // by join_ref
}

// kept is a retained message.
type kept struct {
	epoch             string
	offset            uint64
	at                time.Time
	redacted, dropped bool
}

// reading is a client, in the topic or not.
type reading struct {
	q *fakeQueue
	p *Pager
	m *watched
}

// watched is a member and what it was sent.
type watched struct {
	*fakeOwner
	joined  chan struct{} // closed when Join has returned
	last    uint64        // what it was sent last, or its start
	excused uint64        // it was told that it is not sent what is retained up to here
	left    bool
}

func newModel(t *testing.T, seed uint64) *model {
	r := rand.New(rand.NewPCG(seed, 0))
	keep := 5 + r.IntN(60)
	m := &model{world: newWorld(keep), t: t, r: r, members: map[string]*watched{}, failing: r.IntN(3) == 0}
	m.budget.max = 1 + r.IntN(20000)
	if r.IntN(3) == 0 {
		m.keep.Age = time.Duration(1+r.IntN(60)) * time.Second
	}
	m.topic, m.other = m.open("a"), m.open("b")
	for range 1 + r.IntN(5) {
		c := &reading{}
		c.q, c.p = m.client(4 + r.IntN(60))
		c.q.takes = m.takes
		m.readers = append(m.readers, c)
	}
	return m
}

// takes checks what is queued for a member.
func (m *model) takes(it item) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if it.m.Offset == 0 {
		return
	}
	w := m.members[it.to]
	switch {
	case w.start == nil:
		m.t.Errorf("%s: sent %d before its start", it.to, it.m.Offset)
		return
	case w.left:
		m.t.Errorf("%s: sent %d after it has left", it.to, it.m.Offset)
	case it.m.Offset <= w.last:
		m.t.Errorf("%s: sent %d after %d", it.to, it.m.Offset, w.last)
	}
	if missed := m.missed(w, it.m.Offset-1); len(missed) > 0 {
		m.t.Errorf("%s: sent %d after %d, without %+v", it.to, it.m.Offset, w.last, missed)
	}
	w.last = it.m.Offset
}

// missed is what follows what w was sent last, up to an offset. m.mu is held.
func (m *model) missed(w *watched, upTo uint64) (list []kept) {
	for _, k := range m.kept {
		if k.epoch == w.start.Epoch && k.offset > max(w.last, w.excused) && k.offset <= upTo && !k.redacted {
			list = append(list, k)
		}
	}
	return list
}

func (m *model) retained(epoch string, msg store.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = append(m.kept, kept{epoch: epoch, offset: msg.Offset, at: msg.At})
	n := 0
	for i := len(m.kept) - 1; i >= 0; i-- {
		if k := &m.kept[i]; k.epoch == epoch && !k.redacted && !k.dropped {
			if n++; n > m.keep.Keep {
				k.dropped = true
			}
		}
	}
}

// topOf is where the topic ends in an epoch. m.mu is held.
func (m *model) topOf(epoch string) (top uint64) {
	for _, k := range m.kept {
		if k.epoch == epoch {
			top = max(top, k.offset)
		}
	}
	return top
}

func (m *model) each(f func(k *kept)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.kept {
		f(&m.kept[i])
	}
}

func (m *model) step() {
	switch dice := m.r.IntN(100); {
	case dice < 40:
		m.retain()
	case dice < 46:
		m.said++
		m.topic.Published(ephemeral(m.said))
	case dice < 54:
		m.release()
	case dice < 56:
		m.misses()
	case dice < 60:
		m.redact()
	case dice < 61:
		m.forget()
	case dice < 62 && m.former != "" && m.r.IntN(2) == 0: // late: it erases nothing of this epoch
		m.eraseFormer()
	case dice < 62 && m.r.IntN(4) == 0:
		m.renew()
	case dice < 72:
		m.join(m.readers[m.r.IntN(len(m.readers))])
	case dice < 76:
		m.leave(m.readers[m.r.IntN(len(m.readers))])
	case dice < 82:
		m.readers[m.r.IntN(len(m.readers))].q.stick(m.r.IntN(2) == 0)
	case dice < 88:
		m.readers[m.r.IntN(len(m.readers))].q.read(m.r.IntN(20))
	case dice < 90:
		m.history.shut([]*chan struct{}{&m.history.before, &m.history.after}[m.r.IntN(2)])
	case dice < 94:
		m.history.open(&m.history.before)
		m.history.open(&m.history.after)
	case dice < 95 && m.failing:
		m.fail()
	case dice < 96 && m.r.IntN(2) == 0:
		m.reopen()
	case dice < 97:
		time.Sleep(time.Duration(m.r.IntN(5000)) * time.Millisecond)
	default: // another topic is used
		m.other.mu.Lock()
		m.other.feed.tail.size = m.r.IntN(20000)
		m.budget.charge(m.other.feed)
		m.other.mu.Unlock()
	}
	if m.r.IntN(2) == 0 {
		synctest.Wait()
	}
}

func (m *model) retain() {
	s := m.history.now()
	var p broker.Publication
	_, _ = s.Append(m.t.Context(), []string{"a", "a", "other"}[m.r.IntN(3)], store.Message{Event: "e", Payload: make([]byte, m.r.IntN(300))}, m.keep, func(msg store.Message) {
		p = broker.Publication{Message: msg, Epoch: s.Epoch(), Topic: "a"}
	})
	page, _ := s.Read(m.t.Context(), "a", topAlone)
	if page.Top != p.Offset {
		return // of the other topic: offsets are not dense
	}
	m.retained(s.Epoch(), p.Message)
	switch dice := m.r.IntN(100); {
	case dice < 75 && len(m.late) == 0, dice < 60:
		m.topic.Published(p)
	case dice < 90:
		m.late = append(m.late, p)
	default:
		m.missing = true
	}
}

// release announces something that is late.
func (m *model) release() {
	if len(m.late) > 0 {
		i := m.r.IntN(len(m.late))
		m.topic.Published(m.late[i])
		m.late = slices.Delete(m.late, i, i+1)
	}
}

func (m *model) misses() {
	m.missing = false
	m.topic.Lost()
}

func (m *model) redact() {
	s := m.history.now()
	page, _ := s.Read(m.t.Context(), "a", store.Range{})
	if len(page.Messages) == 0 {
		return
	}
	offset := page.Messages[m.r.IntN(len(page.Messages))].Offset
	m.each(func(k *kept) { k.redacted = k.redacted || k.epoch == s.Epoch() && k.offset == offset })
	_ = s.Redact(m.t.Context(), "a", offset)
	m.drop(func(p broker.Publication) bool { return p.Epoch == s.Epoch() && p.Offset == offset })
	m.topic.Erased(store.Position{Epoch: s.Epoch(), Offset: offset})
}

// eraseFormer announces that something was erased in the epoch before, of which the
// topic may still have messages: it may not have heard of the new one.
func (m *model) eraseFormer() {
	offset := uint64(m.r.IntN(len(m.kept) + 1))
	m.each(func(k *kept) {
		k.redacted = k.redacted || k.epoch == m.former && (k.offset == offset || offset == 0)
	})
	m.topic.Erased(store.Position{Epoch: m.former, Offset: offset})
}

func (m *model) forget() {
	s := m.history.now()
	m.each(func(k *kept) { k.dropped = true })
	_ = s.Forget(m.t.Context(), "a")
	m.drop(func(p broker.Publication) bool { return p.Epoch == s.Epoch() })
	m.topic.Erased(store.Position{Epoch: s.Epoch()})
}

// drop loses what was erased.
func (m *model) drop(is func(broker.Publication) bool) {
	n := len(m.late)
	m.late = slices.DeleteFunc(m.late, is)
	m.missing = m.missing || len(m.late) < n
}

// renew begins another epoch, whose offsets may be lower.
func (m *model) renew() {
	m.former = m.history.Epoch()
	m.history.mu.Lock()
	m.history.store = store.NewMemory()
	m.history.mu.Unlock()
	m.each(func(k *kept) { k.dropped = true })
	m.topic.Lost()
}

func (m *model) join(c *reading) {
	m.leave(c)
	m.joins++
	ref := fmt.Sprint(m.joins)
	w := &watched{fakeOwner: newOwner(m.topic, c.p, ref), joined: make(chan struct{})}
	c.m = w
	m.mu.Lock()
	m.members[ref] = w
	epoch, offset := m.history.Epoch(), uint64(0)
	if n := len(m.kept); n > 0 {
		k := m.kept[max(0, n-1-m.r.IntN(30))]
		epoch, offset = k.epoch, k.offset
	}
	m.mu.Unlock()
	want := Want{Last: m.r.IntN(30)}
	if m.r.IntN(2) == 0 {
		want.Since = &store.Position{Epoch: epoch, Offset: offset}
	}
	go func() {
		defer close(w.joined)
		_ = m.topic.Join(&w.Member, want, func(s *Start) {
			m.mu.Lock()
			defer m.mu.Unlock()
			w.start, w.last = s, s.Offset
			if s.Unread { // nobody could say where the topic ended
				w.excused = m.topOf(s.Epoch)
			}
			if s.Recovered && *want.Since != s.Position {
				m.t.Errorf("%s: begins at %+v, which is recovered, want %+v", ref, *s, *want.Since)
			}
		})
	}()
	synctest.Wait() // it has begun
}

// fail has some reads fail: those of joins too, if they are many.
func (m *model) fail() {
	m.failed = true
	m.history.mu.Lock()
	defer m.history.mu.Unlock()
	m.history.fails += 1 + m.r.IntN(10)
}

// reopen has all leave, and begins with a topic of which nothing is known: nothing is
// announced any more to the one before.
func (m *model) reopen() {
	for _, c := range m.readers {
		m.leave(c)
	}
	m.topic.Close()
	m.late, m.missing = nil, false
	m.topic = m.open("a")
	if m.failing {
		m.fail()
	}
}

// leave has the member of a client leave, which may still join.
func (m *model) leave(c *reading) {
	if c.m == nil {
		return
	}
	c.m.leave()
	m.mu.Lock()
	c.m.left = true
	m.mu.Unlock()
	c.m = nil
}

// settle has everything announced and read, and looks at what each member has.
func (m *model) settle() {
	m.history.open(&m.history.before)
	m.history.open(&m.history.after)
	m.history.mu.Lock()
	m.history.fails = 0
	m.history.mu.Unlock()
	for len(m.late) > 0 {
		m.release()
	}
	m.misses()
	for _, c := range m.readers {
		c.q.stick(false)
	}
	time.Sleep(retrying()) // what could not be read is read again
	synctest.Wait()
	for _, c := range m.readers {
		if n := c.p.waiting(); n > 0 || c.p.busy {
			m.t.Errorf("a pager has %d members, and is busy: %t, though its client has read everything", n, c.p.busy)
		}
		if c.m != nil && !c.q.ended {
			m.check(c.m)
		}
		m.leave(c)
	}
	if n := m.topic.Len(); n != 0 {
		m.t.Errorf("%d members are left, want 0", n)
	}
	m.topic.Close()
	m.other.Close()
	if n := m.budget.Bytes(); n != 0 {
		m.t.Errorf("%d bytes are taken of the budget, want 0", n)
	}
}

func (m *model) check(w *watched) {
	<-w.joined
	fails := w.failed()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(fails) == 0 {
		if missed := m.missed(w, 1<<62); len(missed) > 0 || w.state != live || w.start.Epoch != m.history.Epoch() {
			m.t.Errorf("%s: %+v of epoch %.4s is in state %d at %d, has not had %+v", w.id, *w.start, m.history.Epoch(), w.state, w.at, missed)
		}
		return
	}
	// The history need not know that what it lost had been redacted before.
	dropped := w.start.Epoch != m.history.Epoch() || slices.ContainsFunc(m.kept, func(k kept) bool {
		return k.epoch == w.start.Epoch && k.offset > w.last && (k.dropped || m.keep.Age > 0 && time.Since(k.at) >= m.keep.Age)
	})
	if errors.Is(fails[0], ErrUnread) && !w.start.Unread {
		m.t.Errorf("%s: failed with %v, though its history was read", w.id, fails[0])
	}
	if gap := errors.Is(fails[0], ErrGap); len(fails) > 1 || !m.failed && !(gap && dropped) {
		m.t.Errorf("%s: failed with %v at %d, something is lost: %t, a read has failed: %t", w.id, fails, w.last, dropped, m.failed)
	}
}
