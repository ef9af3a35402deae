package fanout

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/need"
)

// A client is in many topics, and reads when it likes. Each member that is behind
// is sent pages until it is live, one page at a time for all of them, and nothing
// runs while the queue has no room.
func TestAPagerAtRandom(t *testing.T) {
	need.Bubbles(t, 50, 200, pagerAtRandom)
}

func pagerAtRandom(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(1000)
	w.budget.max = 0 // so that each page is read
	q, p := w.client(4 + r.IntN(300))
	q.stick(true)
	var members []*fakeOwner
	for i := range 1 + r.IntN(6) {
		w.topic = w.open("a") // of the same history
		for range r.IntN(120) {
			w.retain(t)
		}
		members = append(members, newOwner(w.topic, p, fmt.Sprint(i)))
	}
	in := make([]bool, len(members))
	for range 150 {
		i := r.IntN(len(members))
		switch m := members[i]; r.IntN(6) {
		case 0, 1:
			if !in[i] {
				in[i] = true
				go func() { _ = m.join(Want{Last: r.IntN(300)}) }()
			}
		case 2:
			for _, m := range members {
				w.topic = m.topic
				w.topic.feed.tail.drop() // nothing else runs
			}
			w.history.shut(&w.history.before)
		case 3:
			w.history.open(&w.history.before)
		case 4:
			q.read(r.IntN(60))
		case 5:
			p.mu.Lock()
			waiting := p.waiting()
			p.mu.Unlock()
			if q.mu.Lock(); waiting > 0 && len(q.items) > q.most/4 && q.ready == nil && w.history.before == nil {
				t.Errorf("%d members are behind, the queue has no room, and nobody waits for it", waiting)
			}
			q.mu.Unlock()
		}
		synctest.Wait()
		if w.history.most > len(members) {
			t.Errorf("%d pages were read at one moment for %d topics", w.history.most, len(members))
		}
	}
	w.history.open(&w.history.before)
	q.stick(false)
	synctest.Wait()
	for i, m := range members {
		if in[i] && m.state != live {
			t.Errorf("member %d is in state %d when its client has read everything, want %d", i, m.state, live)
		}
	}
	if p.waiting() > 0 || p.busy {
		t.Errorf("%d members are behind, and the pager is busy: %t, want none and not", p.waiting(), p.busy)
	}
}

func TestAPagerReadsOnePageAtATimeForAllTopicsOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1000)
		w.retains(t, 300)
		q, p := w.client(100)
		q.stick(true)
		var members []*fakeOwner
		for i := range 5 {
			m := newOwner(w.open("a"), p, fmt.Sprint(i))
			members = append(members, m)
			if err := m.join(Want{Last: 300}); err != nil {
				t.Fatal(err)
			}
			m.topic.mu.Lock()
			m.topic.feed.tail.drop() // its pages are read
			m.topic.mu.Unlock()
		}
		synctest.Wait()
		w.history.most = 0
		w.history.shut(&w.history.before)
		q.read(100)
		synctest.Wait()
		if w.history.most != 1 {
			t.Errorf("%d pages are read at one moment, want 1", w.history.most)
		}
		w.history.open(&w.history.before)
		for range 200 {
			q.read(20)
			synctest.Wait()
			if p.mu.Lock(); len(q.items) > q.most/4 && w.history.reading > 0 {
				t.Error("a page is read while the queue has no room")
			}
			p.mu.Unlock()
		}
		if got := len(q.offsets()); got != 5*300 {
			t.Errorf("%d messages were read, want 300 of each topic", got)
		}
		for _, m := range members {
			if m.state != live {
				t.Errorf("a member is in state %d, want %d", m.state, live)
			}
		}
	})
}
