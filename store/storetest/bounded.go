package storetest

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/store"
)

// RunBounded checks stores that have a bound in topics, by the rule that boltstore has: of
// the names that are the same up to the first colon, those that have the most together
// lose first the topic with the fewest messages, and among these the one that was not
// appended to for the longest, but nothing that was within the last minute. Open
// is called in a testing/synctest bubble, and returns a store that knows so many topics at
// most. It has a method Stats.
func RunBounded(t *testing.T, open func(t *testing.T, topics int) store.Store) {
	for _, b := range []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"names without end push out no others", nameWithoutEnd},
		{"where nothing may go what begins is refused", refuseAtTheBound},
	} {
		t.Run(b.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { b.run(t, open(t, mostTopics)) })
		})
	}
}

const mostTopics = 100

func known(t *testing.T, s store.Store) int64 {
	t.Helper()
	synctest.Wait() // a store may make room by itself
	stats := s.(interface{ Stats() store.Stats }).Stats()
	if stats.MaxTopics != mostTopics || stats.Topics > stats.MaxTopics || stats.Bytes <= 0 {
		t.Errorf("stats: got %+v, want bytes, and at most %d topics", stats, mostTopics)
	}
	return stats.Topics
}

func nameWithoutEnd(t *testing.T, s store.Store) {
	rooms := map[string][]store.Message{}
	for i := range 20 {
		room := fmt.Sprint("room:", i)
		rooms[room] = addN(t, s, room, 1, everything)
	}
	full := addN(t, s, "name:full", 3, everything) // of the same group as the names
	first := addN(t, s, "name:first", 1, everything)[0]
	time.Sleep(2 * time.Minute)
	for i := range 1000 {
		add(t, s, fmt.Sprint("name:", i), text("x"), everything)
		if i%3 == 0 {
			time.Sleep(time.Minute + time.Second)
		}
		if i%50 == 0 {
			known(t, s)
		}
	}
	for room, m := range rooms {
		wantPage(t, s, room, all, page(m...))
	}
	wantPage(t, s, "name:full", all, page(full...))
	// What went is not remembered, and nobody is left to believe that nothing is missing.
	for _, after := range []uint64{0, first.Offset} {
		if p := read(t, s, "name:first", store.Range{After: after}); len(p.Messages) > 0 || p.Complete {
			t.Errorf("the first name, after %d: got %s, complete %t, want nothing, false", after, list(p.Messages), p.Complete)
		}
	}
	if p := read(t, s, "name:999", all); len(p.Messages) != 1 {
		t.Errorf("the last name has %d messages, want 1", len(p.Messages))
	}
}

func refuseAtTheBound(t *testing.T, s store.Store) {
	refused := 0
	for i := range 2 * mostTopics { // all within a minute
		_, err := s.Append(t.Context(), fmt.Sprint("name:", i), text("x"), everything, nil)
		if err != nil && !errors.Is(err, store.ErrFull) {
			t.Fatalf("append: got %v, want %v", err, store.ErrFull)
		}
		if err != nil {
			refused++
		}
	}
	if n := known(t, s); refused != mostTopics || n != mostTopics {
		t.Errorf("%d topics were refused, and %d are known, want %d each", refused, n, mostTopics)
	}
	add(t, s, "name:0", text("goes on"), everything)
	time.Sleep(2 * time.Minute)
	addN(t, s, "name:0", 1, everything) // by which room may be made
	synctest.Wait()
	add(t, s, "name:later", text("there is room again"), everything)
}
