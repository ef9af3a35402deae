package flush

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/task"
)

// waiting is a connection whose write takes until a test lets it go on.
type waiting struct {
	begun, release chan struct{}
	flushed        atomic.Bool
}

func (w *waiting) Flush(*Flusher, mono.Instant) {
	close(w.begun)
	<-w.release
	w.flushed.Store(true)
}

// greedy has always more to write.
type greedy struct{ end atomic.Bool }

func (g *greedy) Flush(f *Flusher, _ mono.Instant) {
	if !g.end.Load() {
		f.Add(g)
	}
}

func TestARoundIsDoneWhenAllHaveBeenFlushedOnce(t *testing.T) {
	var tasks task.Group
	fs := New(&tasks)
	if round := fs.BeginRound(); round != nil {
		t.Error("got a round to wait for of flushers that have nothing to do, want nil")
	}
	var endless greedy
	busy := make([]waiting, len(fs))
	for i := range fs {
		busy[i].begun, busy[i].release = make(chan struct{}), make(chan struct{})
		fs[i].Add(&busy[i])
		<-busy[i].begun
		fs[i].Add(&endless)
	}
	later := make([]noting, len(fs))
	for i := range fs {
		fs[i].Add(&later[i])
	}
	round := fs.BeginRound()
	for i := range fs {
		select {
		case <-round:
			t.Fatalf("done while %d of %d flushers write", len(fs)-i, len(fs))
		default:
		}
		close(busy[i].release)
	}
	select {
	case <-round:
	case <-time.After(30 * time.Second):
		t.Fatal("the round is not done though all have been flushed")
	}
	for i := range later {
		if later[i].flushes != 1 {
			t.Errorf("connection %d was flushed %d times when the round was done, want once", i, later[i].flushes)
		}
	}
	endless.end.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := tasks.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}
