package fanout

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// check compares the list with itself and with the tails. Nothing else runs.
func (b *Budget) check(t *testing.T, topics []*Topic) {
	t.Helper()
	sum, n, linked := 0, 0, map[*feed]bool{}
	for e := b.use.Front(); e != nil; e = e.Next() {
		f := e.Value.(*feed)
		if f.share.place != e {
			t.Fatal("the list is broken")
		}
		sum, n, linked[f] = sum+f.share.bytes, n+1, true
	}
	if n != len(linked) || sum != b.bytes {
		t.Errorf("%d shares of %d topics take %d bytes, want %d", n, len(linked), sum, b.bytes)
	}
	for _, topic := range topics {
		f := topic.feed
		if f.tail.size != f.share.bytes || linked[f] != (f.tail.size > 0) || linked[f] != (f.share.place != nil) {
			t.Errorf("a topic takes %d bytes, its share is %d and listed: %t", f.tail.size, f.share.bytes, linked[f])
		}
	}
}

func TestABudgetAtRandom(t *testing.T) {
	seed := need.Seed(t)
	r := rand.New(rand.NewPCG(seed, 2))
	for range 100 {
		w := newWorld(1000)
		w.budget.max, w.sure = r.IntN(5000), true
		var topics []*Topic
		for range 1 + r.IntN(8) {
			topics = append(topics, w.open("a"))
		}
		for range 300 {
			topic := topics[r.IntN(len(topics))]
			switch r.IntN(10) {
			case 0:
				topic.Erased(store.Position{Epoch: w.history.Epoch()})
			case 1:
				topic.Close()
				topic.feed.closed = false // it is another one
			default:
				topic.Published(w.retain(t))
			}
			w.budget.check(t, topics)
			if b := w.budget; b.bytes > b.max && b.use.Len() > 1 {
				t.Fatalf("%d bytes of %d are taken, and not by one topic alone", b.bytes, b.max)
			}
			if b := w.budget; topic.feed.tail.size > 0 && b.use.Front().Value != topic.feed {
				t.Fatal("the topic that was used last is not the newest")
			}
		}
	}
}

// A topic that is in use is not waited for, so the bound may be passed meanwhile.
// The next charge makes up for it.
func TestABudgetOfTopicsThatAreUsedAtOnce(t *testing.T) {
	w := newWorld(1000)
	w.budget.max = 5000
	var topics []*Topic
	for range 8 {
		topics = append(topics, w.open("a"))
	}
	var wg sync.WaitGroup
	for _, topic := range topics {
		p := w.retain(t)
		wg.Go(func() {
			for range 2000 {
				topic.Published(p)
				p.Offset, p.Prev = p.Offset+1, p.Offset
			}
		})
	}
	wg.Wait()
	topics[0].mu.Lock()
	w.budget.charge(topics[0].feed)
	topics[0].mu.Unlock()
	w.budget.check(t, topics)
	if b := w.budget; b.bytes > b.max && b.use.Len() > 1 {
		t.Errorf("%d bytes of %d are taken, and not by one topic alone", b.bytes, b.max)
	}
}
