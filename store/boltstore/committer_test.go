package boltstore

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/go-chime/chime/store"
)

// On one processor, the first of many callers wakes the committer, which would
// commit that one alone and keep the processor through the sync.
func TestCommitsGroupOnOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const callers = 64
	c := &committer{queue: newQueue()}
	for range callers {
		go func() { _, _ = c.queue.put(&op{}) }()
	}
	c.gather()
	if n := c.queue.waiting(); n != callers {
		t.Errorf("the commit takes %d operations, want those of all %d callers", n, callers)
	}
}

// The same of a store: without that, the first of a round of callers has a commit of
// its own, and there are twice as many.
func TestAStoreGroupsItsCommitsOnOneProcessor(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "chime.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const callers, each = 64, 10
	before := s.Stats().Commits
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for range each {
				if _, err := s.Append(t.Context(), fmt.Sprint("a:", i), store.Message{Event: "e", Payload: []byte("{}")}, store.Retention{Keep: 10}, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := s.Stats().Commits - before; n > each*3/2 {
		t.Errorf("%d rounds of %d appends took %d commits, want about one for each round", each, callers, n)
	}
}
