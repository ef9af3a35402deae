package fanout

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/drafttest"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// The reference: the text of each draft. Each member has just that, whenever it joined,
// however slowly it reads and whatever it missed while it was behind: no delta is lost or
// doubled, none is of a draft that it does not know, and a state replaces what it has.
func TestDraftsAtRandom(t *testing.T) {
	need.Bubbles(t, 150, 600, func(t *testing.T, seed uint64) {
		m := newDraftModel(t, seed)
		for range 200 {
			m.step()
		}
		m.settle()
	})
}

type draftModel struct {
	*world
	t      *testing.T
	r      *rand.Rand
	drafts []*Draft
	begun  int

	unpublished []*Draft          // have ended, and can't be published, of which nobody was told yet
	texts       map[string]string // what was appended, by draft
	watches     []*watcher
}

// watcher is a client, in the topic or not, and what it makes of what it was sent.
type watcher struct {
	t *testing.T
	q *fakeQueue
	p *Pager
	m *fakeOwner // nil: it is not in the topic

	mu     sync.Mutex // guards what follows: it is sent something with the topic's lock held
	joined bool
	view   drafttest.View
}

func newDraftModel(t *testing.T, seed uint64) *draftModel {
	r := rand.New(rand.NewPCG(seed, 0))
	m := &draftModel{world: newWorld(1000), t: t, r: r, texts: map[string]string{}}
	if r.IntN(4) == 0 {
		m.topic.Close()
		m.topic = New("a", Config{Tasks: &m.tasks}) // without a history
	}
	for range 1 + r.IntN(4) {
		w := &watcher{t: t}
		w.q, w.p = m.client(20 + r.IntN(100))
		w.q.takes = w.takes
		m.watches = append(m.watches, w)
	}
	return m
}

// takes is a client that does what the protocol says.
func (w *watcher) takes(it item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := wire.Decode(it.m.AppendText(nil, true, it.to))
	if err == nil {
		err = w.view.Take(f.Event, f.Payload)
	}
	if err != nil {
		w.t.Error(err)
	}
	if !w.joined {
		w.t.Errorf("%s before the reply to the join", f.Event)
	}
}

func (m *draftModel) step() {
	w := m.watches[m.r.IntN(len(m.watches))]
	switch dice := m.r.IntN(100); {
	case dice < 6 && len(m.drafts) < 3:
		m.begun++
		id := fmt.Sprint("d", m.begun)
		d := NewDraft(id, drafttest.Final, []byte("{}"))
		m.drafts, m.texts[id] = append(m.drafts, d), ""
		m.topic.BeginDraft(d)
	case dice < 36 && len(m.drafts) > 0:
		d := m.drafts[m.r.IntN(len(m.drafts))]
		text := strings.Repeat(string(rune('a'+m.r.IntN(26))), m.r.IntN(5))
		m.texts[d.id] += text
		d.Append([]byte(text))
		if m.r.IntN(2) == 0 {
			m.topic.GrowDraft(d)
		}
	case dice < 45 && len(m.drafts) > 0:
		m.end(m.r.IntN(len(m.drafts)))
	case dice < 46:
		m.fail()
	case dice < 50:
		m.join(w)
	case dice < 56:
		m.leave(w)
	case dice < 66:
		w.q.stick(m.r.IntN(3) > 0)
	case dice < 74:
		w.q.read(m.r.IntN(20))
	case dice < 76:
		m.history.shut([]*chan struct{}{&m.history.before, &m.history.after}[m.r.IntN(2)])
	case dice < 82:
		m.history.open(&m.history.before)
		m.history.open(&m.history.after)
	case dice < 84:
		m.topic.Published(ephemeral(m.r.IntN(10)))
	default:
		for range m.r.IntN(10) {
			m.retain("e", "{}")
		}
	}
	if m.r.IntN(2) == 0 {
		synctest.Wait()
		for i, w := range m.watches {
			m.check(i, w)
		}
	}
}

// check compares what a live member shows with what there is, once all that it was sent
// is queued.
func (m *draftModel) check(i int, w *watcher) {
	if w.m == nil || w.q.ended || w.m.state != live {
		return
	}
	want, got := map[string]string{}, w.view.Texts()
	for _, d := range m.drafts {
		want[d.id] = string(d.text)
		if !strings.HasPrefix(m.texts[d.id], want[d.id]) {
			m.t.Errorf("draft %s shows %q, want a part of %q", d.id, want[d.id], m.texts[d.id])
		}
	}
	for _, d := range m.unpublished { // of which nobody was told
		delete(got, d.id)
	}
	if !maps.Equal(got, want) {
		m.t.Errorf("client %d has %v, want %v", i, got, want)
	}
}

func (m *draftModel) end(i int) {
	d := m.drafts[i]
	m.drafts = append(m.drafts[:i:i], m.drafts[i+1:]...)
	if m.r.IntN(3) == 0 {
		m.topic.EndDraft(d, "no good")
	} else {
		text := m.topic.EndDraft(d, "")
		if string(text) != m.texts[d.id] {
			m.t.Errorf("draft %s ends with %q, want %q", d.id, text, m.texts[d.id])
		}
		if m.r.IntN(2) == 0 {
			m.unpublished = append(m.unpublished, d)
		} else {
			m.retain(drafttest.Final, fmt.Sprintf(`{"draft":%q,"text":%q}`, d.id, text))
		}
	}
	delete(m.texts, d.id)
}

// fail tells of drafts that can't be published.
func (m *draftModel) fail() {
	for _, d := range m.unpublished {
		m.topic.EndDraft(d, "internal")
	}
	m.unpublished = nil
}

func (m *draftModel) retain(event, payload string) {
	p := broker.Publication{Topic: "a", Message: store.Message{Event: event, Payload: []byte(payload)}}
	if m.topic.feed == nil {
		m.topic.Published(p)
		return
	}
	s := m.history.now()
	_, _ = s.Append(m.t.Context(), "a", p.Message, m.keep, func(msg store.Message) { p.Message, p.Epoch = msg, s.Epoch() })
	m.topic.Published(p)
}

func (m *draftModel) join(w *watcher) {
	m.leave(w)
	w.m = newOwner(m.topic, w.p, "1")
	want := Want{Last: m.r.IntN(30)}
	go func(owner *fakeOwner) {
		_ = m.topic.Join(&owner.Member, want, func(*Start) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.joined, w.view = true, drafttest.View{}
		})
	}(w.m)
	synctest.Wait() // it has begun
}

func (m *draftModel) leave(w *watcher) {
	if w.m != nil {
		w.m.leave()
		w.m = nil
		m.history.open(&m.history.before)
		m.history.open(&m.history.after)
		synctest.Wait() // or its join could still greet
		w.mu.Lock()
		w.joined = false
		w.mu.Unlock()
	}
}

func (m *draftModel) settle() {
	m.history.open(&m.history.before)
	m.history.open(&m.history.after)
	m.fail()
	for _, w := range m.watches {
		w.q.stick(false)
	}
	for _, d := range m.drafts {
		m.topic.GrowDraft(d)
		if string(d.text) != m.texts[d.id] {
			m.t.Errorf("draft %s shows %q, want %q", d.id, d.text, m.texts[d.id])
		}
	}
	synctest.Wait()
	for i, w := range m.watches {
		m.check(i, w)
		m.leave(w)
	}
	for len(m.drafts) > 0 {
		m.end(0)
	}
	m.topic.Close()
}
