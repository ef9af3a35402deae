// Package task owns goroutines. The owner of a [Group] can wait for all that it
// started, with a bound; unlike sync.WaitGroup a Group may be added to during a
// Wait.
package task

import (
	"context"
	"sync"
	"time"
)

// Group is a number of running goroutines. The zero value is ready.
type Group struct {
	mu      sync.Mutex // guards n and waiting
	n       int
	waiting chan struct{} // closed when n falls to 0; nil if nobody waits
}

// Go runs f in a goroutine of the group.
func (g *Group) Go(f func()) {
	g.Add()
	go func() {
		defer g.Done()
		f()
	}()
}

// Do runs f in the calling goroutine, which belongs to the group meanwhile.
func (g *Group) Do(f func()) {
	g.Add()
	defer g.Done()
	f()
}

// After runs f once d has passed, as Do. Wait does not wait for the timer: who stops it
// holds the group until then.
//
//go:noinline
func (g *Group) After(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { g.Do(f) })
}

// Add holds the group as a running goroutine would, until Done: for what is at
// work without a goroutine of its own.
func (g *Group) Add() {
	g.mu.Lock()
	g.n++
	g.mu.Unlock()
}

// Done takes back one Add.
func (g *Group) Done() {
	g.mu.Lock()
	g.n--
	if g.n == 0 && g.waiting != nil {
		close(g.waiting)
		g.waiting = nil
	}
	g.mu.Unlock()
}

// Wait returns when no goroutine of the group runs and nothing holds it, or with the error of ctx.
func (g *Group) Wait(ctx context.Context) error {
	g.mu.Lock()
	if g.n == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.waiting == nil {
		g.waiting = make(chan struct{})
	}
	waiting := g.waiting
	g.mu.Unlock()
	select {
	case <-waiting:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
