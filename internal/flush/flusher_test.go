package flush

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/task"
)

// noting is a connection that is counted when it is flushed.
type noting struct{ flushes int }

func (n *noting) Flush(*Flusher, mono.Instant) { n.flushes++ } // by one goroutine at a time, or -race says so

func TestEachOnTheListIsFlushedOnceForEachAdd(t *testing.T) {
	var tasks task.Group
	fs := New(&tasks)
	conns := make([]noting, 100)
	var adding sync.WaitGroup
	for range 8 {
		adding.Go(func() {
			for i := range conns {
				fs[i%len(fs)].Add(&conns[i])
			}
		})
	}
	adding.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := tasks.Wait(ctx); err != nil {
		t.Fatalf("the flushers do not end with their lists: %v", err)
	}
	if i := slices.IndexFunc(conns, func(n noting) bool { return n.flushes != 8 }); i >= 0 {
		t.Errorf("connection %d was flushed %d times, want 8", i, conns[i].flushes)
	}
}
