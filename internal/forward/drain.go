package forward

import (
	"context"
	"maps"
	"slices"
	"time"
)

// over reports whether nothing is forwarded any more.
func (f *Forwarder) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// begin reports whether a call may go on. If it does, done is called when it is over.
func (f *Forwarder) begin(c *call) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		c.end()
		return false
	}
	f.calls[c] = struct{}{}
	return true
}

func (f *Forwarder) done(c *call) {
	c.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.calls, c)
}

// Drain forwards nothing new, and ends what is under way, one after the other over the window
// for so many or when ctx is done: the clients go on by another node. It waits for none.
func (f *Forwarder) Drain(ctx context.Context, windowOf func(n int) time.Duration) {
	f.mu.Lock()
	f.closed = true
	calls := slices.Collect(maps.Keys(f.calls)) // in any order
	f.mu.Unlock()
	window := windowOf(len(calls))
	start, timer := time.Now(), time.NewTimer(0)
	defer timer.Stop()
	for i, c := range calls {
		timer.Reset(time.Until(start.Add(window * time.Duration(i+1) / time.Duration(len(calls)))))
		select {
		case <-timer.C:
		case <-c.ctx.Done():
		case <-ctx.Done():
			window = 0
		}
		c.end()
	}
}

// Wait returns when nothing is forwarded any more, or with the error of ctx.
func (f *Forwarder) Wait(ctx context.Context) error { return f.tasks.Wait(ctx) }
