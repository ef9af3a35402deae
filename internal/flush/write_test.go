package flush

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/task"
)

func isDone(round <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-round:
		return true
	default:
		return false
	}
}

func TestARoundWaitsForTheWritesOfGoroutinesAsLongAsTheyGetDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tasks task.Group
		fs := New(&tasks)
		const n = 5
		under := make([]Write, n)
		for i := range under {
			under[i] = fs[i%len(fs)].Hand()
		}
		round := fs.BeginRound()
		if round == nil {
			t.Fatal("got no round to wait for while goroutines write")
		}
		for i, w := range under {
			if isDone(round) {
				t.Fatalf("done with %d of %d writes under way", n-i, n)
			}
			time.Sleep(patience / 4)
			w.End()
		}
		if !isDone(round) {
			t.Error("not done when all writes are")
		}
		stuck, begun := fs[0].Hand(), time.Now()
		round = fs.BeginRound()
		<-round
		if took := time.Since(begun); took != patience {
			t.Errorf("waited %v for a client that takes nothing, want %v", took, patience)
		}
		if fs.BeginRound() != nil {
			t.Error("another round waits for it")
		}
		stuck.End()
		fs[0].Hand().End()
		if fs.BeginRound() != nil {
			t.Error("a round waits for what is done")
		}
	})
}
