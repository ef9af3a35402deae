package clientsocket

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/mono"
)

func TestGraceIsOverWhenItsTimeIs(t *testing.T) {
	for _, test := range []struct {
		name           string
		wait, left     time.Duration
		extended, want time.Duration // 0 is never
	}{
		{"in time", 15 * time.Second, mono.Never, 0, 15 * time.Second},
		{"the identity expires before", 15 * time.Second, 5 * time.Second, 0, 5 * time.Second},
		{"the identity has expired", 15 * time.Second, -time.Second, 0, 1},
		{"extended", 15 * time.Second, mono.Never, 20 * time.Second, 20 * time.Second},
		{"extended to before its end", 15 * time.Second, mono.Never, 10 * time.Second, 15 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				expires := begun.Add(test.left)
				g := &grace{}
				var over time.Duration
				var mu sync.Mutex // as a client socket's
				mu.Lock()
				g.start(test.wait, test.left, func(round int) {
					mu.Lock()
					defer mu.Unlock()
					left := mono.Never
					if test.left != mono.Never {
						left = time.Until(expires)
					}
					if !g.runs(round) {
						t.Error("a round that was not stopped does not run")
					}
					if left <= 0 || g.over(left) {
						over = time.Since(begun)
					}
				})
				if test.extended > 0 {
					g.extend(mono.Now().Add(test.extended))
				}
				mu.Unlock()
				time.Sleep(time.Minute)
				synctest.Wait()
				if over != test.want {
					t.Errorf("over after %v, want after %v", over, test.want)
				}
			})
		})
	}
}

func TestAGraceThatWasStoppedIsNotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var none *grace
		none.stop() // of a client socket that was never detached
		g := &grace{}
		var rounds []int
		note := func(round int) { rounds = append(rounds, round) }
		g.start(10*time.Second, mono.Never, note)
		time.Sleep(5 * time.Second)
		g.stop()
		if g.runs(1) {
			t.Error("it runs, and was stopped")
		}
		g.start(10*time.Second, mono.Never, note)
		if g.runs(1) || !g.runs(2) {
			t.Errorf("got round 1 running %v and round 2 %v, want false and true", g.runs(1), g.runs(2))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(rounds) != 1 || rounds[0] != 2 {
			t.Errorf("rounds %v are over, want the second alone", rounds)
		}
	})
}
