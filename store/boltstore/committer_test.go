package boltstore

import (
	"runtime"
	"testing"
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
