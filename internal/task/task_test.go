package task_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/task"
)

func TestMain(m *testing.M) { leak.Main(m) }

// waiting calls Wait in a goroutine, whose result it returns.
func waiting(g *task.Group) <-chan error {
	result := make(chan error, 1)
	go func() { result <- g.Wait(context.Background()) }()
	return result
}

// wantBlocked fails unless Wait still waits once nothing else can happen.
func wantBlocked(t *testing.T, result <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-result:
		t.Fatalf("Wait returned %v while a goroutine runs", err)
	default:
	}
}

func wantNil(t *testing.T, result <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-result:
		if err != nil {
			t.Errorf("Wait: got %v, want nil", err)
		}
	default:
		t.Error("Wait has not returned though no goroutine runs")
	}
}

func TestWaitReturnsAtOnceWhenNothingRuns(t *testing.T) {
	var g task.Group
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if err := g.Wait(ended); err != nil {
			t.Errorf("got %v, want nil: there was nothing to wait for", err)
		}
	}
}

func TestWaitReturnsAfterTheLastGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g task.Group
		release := make(chan struct{})
		for range 3 {
			g.Go(func() { <-release })
		}
		first, second := waiting(&g), waiting(&g)
		release <- struct{}{}
		release <- struct{}{}
		wantBlocked(t, first)
		wantBlocked(t, second)
		release <- struct{}{}
		wantNil(t, first)
		wantNil(t, second)
	})
}

func TestWaitReturnsTheCauseWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g task.Group
		release := make(chan struct{})
		g.Go(func() { <-release })

		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, enough)
		defer cancel()
		start := time.Now()
		if err := g.Wait(ctx); err != enough { //nolint:errorlint // the cause itself, not wrapped
			t.Errorf("got %v, want the cause %v", err, enough)
		}
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("waited %v, want a minute", waited)
		}

		// Who gave up has taken nothing from those who wait on.
		patient := waiting(&g)
		wantBlocked(t, patient)
		close(release)
		wantNil(t, patient)
	})
}

func TestGoWhileSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g task.Group
		release, releaseChild := make(chan struct{}), make(chan struct{})
		g.Go(func() {
			<-release
			g.Go(func() { <-releaseChild })
		})
		result := waiting(&g)
		wantBlocked(t, result)
		close(release)
		wantBlocked(t, result) // for the child, though its parent has ended
		close(releaseChild)
		wantNil(t, result)
	})
}

func TestAGroupCanBeUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g task.Group
		for range 3 {
			release := make(chan struct{})
			g.Go(func() { <-release })
			result := waiting(&g)
			wantBlocked(t, result)
			close(release)
			wantNil(t, result)
		}
	})
}

func TestManyStartAndWaitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g task.Group
		var ran atomic.Int64
		start := make(chan struct{})
		results := make([]<-chan error, 20)
		for i := range results {
			for range 50 {
				g.Go(func() {
					<-start
					g.Go(func() { ran.Add(1) })
				})
			}
			results[i] = waiting(&g)
		}
		close(start)
		for _, result := range results {
			wantNil(t, result)
		}
		if n := ran.Load(); n != 1000 {
			t.Errorf("%d goroutines ran, want 1000", n)
		}
	})
}

// What a goroutine of the group did has happened before Wait returns: the race
// detector says so if it has not.
func TestWaitSeesWhatWasDone(t *testing.T) {
	var g task.Group
	sum := 0
	g.Go(func() { sum++ })
	if err := g.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sum != 1 {
		t.Errorf("got %d, want 1", sum)
	}
}

func TestWaitWaitsForWhatIsDoneByTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g task.Group
		var result <-chan error
		g.Do(func() {
			result = waiting(&g)
			wantBlocked(t, result)
		})
		wantNil(t, result)
	})
}

func TestWaitWaitsForWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g task.Group
		g.Add()
		result := waiting(&g)
		wantBlocked(t, result)
		g.Done()
		wantNil(t, result)
	})
}
