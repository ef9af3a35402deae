package local

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// ordered is a sink that checks the order of what it is told.
type ordered struct {
	t      *testing.T
	in     atomic.Int32
	last   uint64 // calls come one at a time: the race detector says so if they do not
	sum    int
	erased map[uint64]bool
}

func (s *ordered) enter() func() {
	if s.in.Add(1) != 1 {
		s.t.Error("it is called twice at one moment")
	}
	return func() { s.in.Add(-1) }
}

func (s *ordered) Published(p broker.Publication) {
	defer s.enter()()
	if p.Offset != s.last+1 {
		s.t.Errorf("%d is announced after %d", p.Offset, s.last)
	}
	if s.erased[p.Offset] {
		s.t.Errorf("%d is announced after it was erased", p.Offset)
	}
	s.last = p.Offset
	s.sum++
}

func (s *ordered) Erased(_ string, at store.Position) {
	defer s.enter()()
	s.erased[at.Offset] = true
}

func (s *ordered) Lost(string) {}

// Many add, announce and erase at once: each is announced once, in the order in
// which it was added, before whoever announces returns, and not after its erasure.
func TestAnOrderAtRandom(t *testing.T) {
	seed := need.Seed(t)
	const writers, each = 8, 500
	sink := &ordered{t: t, erased: map[uint64]bool{}}
	o := newOrder(sink)
	var appending sync.Mutex // as a store appends: one at a time
	offset := uint64(0)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range each {
				appending.Lock()
				offset++
				mine := offset
				o.add(&broker.Publication{Message: store.Message{Offset: mine}})
				appending.Unlock()
				if r.IntN(4) == 0 {
					o.erase("a", store.Position{Offset: mine})
				} else {
					o.announce()
				}
				o.announcing.Lock()
				if sink.last < mine {
					t.Errorf("%d is not announced when its writer goes on", mine)
				}
				o.announcing.Unlock()
			}
		})
	}
	wg.Wait()
	if sink.sum != writers*each || len(o.waiting) > 0 {
		t.Errorf("%d were announced, and %d wait, want %d and none", sink.sum, len(o.waiting), writers*each)
	}
}

// What waits when nobody is subscribed any more is in the history: announced to
// the next subscriber, it could come after it was erased.
func TestNothingIsAnnouncedAfterAnOrderIsClosed(t *testing.T) {
	var s noted
	o := newOrder(&s)
	o.add(&broker.Publication{Message: store.Message{Offset: 1}})
	o.close()
	o.add(&broker.Publication{Message: store.Message{Offset: 2}})
	o.announce()
	if len(s.offsets) > 0 {
		t.Errorf("announced %v after the close, want nothing", s.offsets)
	}
}

// Whoever unsubscribes may subscribe again at once: what is still being announced then
// would come to the next members, who have it from the history.
func TestCloseWaitsForWhatIsBeingAnnounced(t *testing.T) {
	s := slow{begun: make(chan struct{}), free: make(chan struct{})}
	o := newOrder(s)
	o.add(&broker.Publication{Message: store.Message{Offset: 1}})
	var wg sync.WaitGroup
	wg.Go(o.announce)
	<-s.begun
	closed := make(chan struct{})
	wg.Go(func() {
		o.close()
		close(closed)
	})
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case <-closed:
		t.Error("an order is closed while it announces, want it to wait")
	default:
	}
	close(s.free)
	wg.Wait()
}

// slow is a sink that takes its time.
type slow struct {
	*noted
	begun, free chan struct{}
}

func (s slow) Published(broker.Publication) {
	close(s.begun)
	<-s.free
}

type noted struct{ offsets []uint64 }

func (n *noted) Published(p broker.Publication) { n.offsets = append(n.offsets, p.Offset) }
func (*noted) Erased(string, store.Position)    {}
func (*noted) Lost(string)                      {}
