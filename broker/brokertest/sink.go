package brokertest

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// sink notes what is announced. It appends outside of its lock, so that the
// race detector sees two announcements of one topic at a time.
type sink struct {
	history broker.History
	yields  int // how often an announcement lets other goroutines run

	mu        sync.Mutex // guards the maps, not the slices in them
	came      sync.Cond
	announced map[string][]broker.Publication
	erased    map[string][]erasure
}

// erasure is what a sink was told of, after so many announcements of its topic.
type erasure struct {
	at    store.Position
	after int
}

func (s *sink) Published(p broker.Publication) {
	list := append(s.of(p.Topic), p)
	for range s.yields {
		runtime.Gosched()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announced[p.Topic] = list
	s.came.Broadcast()
}

func (s *sink) Erased(topic string, at store.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erased[topic] = append(s.erased[topic], erasure{at, len(s.announced[topic])})
	s.came.Broadcast()
}

// Lost implements broker.Sink. A broker that nothing happens to loses nothing
// here: what should have been announced is missed by who waits for it.
func (s *sink) Lost(string) {}

func (s *sink) of(topic string) []broker.Publication {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.announced[topic]
}

// patience is how long an announcement may take.
const patience = 10 * time.Second

// wait returns what was announced when that is n or more, or what there is when
// that takes too long.
func (s *sink) wait(t *testing.T, topic string, n int) []broker.Publication {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !until(&s.came, patience, func() bool { return len(s.announced[topic]) >= n }) {
		t.Fatalf("%d messages of %q were announced in %v, want %d", len(s.announced[topic]), topic, patience, n)
	}
	return s.announced[topic]
}

// through returns the offsets of what a page has, and of what was announced up to the last message.
func (s *sink) through(t *testing.T, topic string, page store.Page, last uint64) map[uint64]bool {
	t.Helper()
	list := s.wait(t, topic, 1)
	for n := 1; list[len(list)-1].Offset < last; n++ {
		list = s.wait(t, topic, n)
	}
	seen := map[uint64]bool{}
	for _, m := range page.Messages {
		seen[m.Offset] = true
	}
	for _, p := range list {
		seen[p.Offset] = true
	}
	return seen
}

// wantKept wants that what was announced behind the last erasure of a topic is in its history.
func (s *sink) wantKept(t *testing.T, topic string, list []broker.Publication, page store.Page) {
	t.Helper()
	s.mu.Lock()
	erased := s.erased[topic]
	s.mu.Unlock()
	if len(erased) == 0 {
		t.Fatal("told of no erasure")
	}
	kept := map[uint64]bool{}
	for _, m := range page.Messages {
		kept[m.Offset] = true
	}
	for _, p := range list[erased[len(erased)-1].after:] {
		if !kept[p.Offset] {
			t.Fatalf("%d was announced after all was erased, and is not in the history", p.Offset)
		}
	}
}

// until waits until something is so, as long as that may take. Cond is woken when it may be, and
// its lock is held. It reports false if it took too long.
func until(cond *sync.Cond, within time.Duration, so func() bool) bool {
	late := false
	timer := time.AfterFunc(within, func() {
		cond.L.Lock()
		defer cond.L.Unlock()
		late = true
		cond.Broadcast()
	})
	defer timer.Stop()
	for !so() && !late {
		cond.Wait()
	}
	return !late
}
