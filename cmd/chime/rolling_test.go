package main

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
)

// Each of three nodes is replaced in its turn, while clients of all kinds listen by a balancer
// that knows no sessions and somebody speaks: each client has all that is said, once and in
// order, and all that is said is taken in the end. What pages push is answered, whatever
// node they are on: nothing is in doubt.
func TestARollingRestartMissesNothing(t *testing.T) {
	need.Patience(t, "a minute and more")
	t.Parallel() // it waits
	for engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ns := startNodes(t, engine)
			for i := range ns.nodes {
				ns.healthy(i)
			}
			const clients, rooms = 30, 2
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			base := ns.balance()
			r := &restart{t: t, base: base, host: strings.TrimPrefix(base, "http://"), said: make([]int, rooms)}
			r.say(ctx, rooms) // so that each has a position
			leave := r.enter(ctx, clients, rooms)
			defer leave()
			r.until(ctx, "all have joined", func(g *visitor) bool { return g.joins == 1 })
			enough := r.publish(ctx, rooms)
			defer enough()
			pushed := startPushers(t, base)
			for i := range ns.nodes {
				begun := time.Now()
				if err := ns.nodes[i].cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if err := ns.nodes[i].wait(); err != nil {
					t.Errorf("the exit status of node %d: got %v, want 0", i, err)
				}
				ended := time.Since(begun)
				ns.start(i)
				ns.opened(i)
				ns.healthy(i)
				r.all(ctx, "all go on")
				t.Logf("node %d ended after %v, and all went on after %v", i, ended.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
			}
			enough()
			pushed.wantAllDone(t)
			r.until(ctx, "all have what was said last", func(g *visitor) bool { return g.last >= r.said[g.room] })
			leave()
			t.Logf("%d messages in each room", r.said[0])
			ns.wantNoSecret()
		})
	}
}
