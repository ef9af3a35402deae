package server

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/mono"
)

// writeBound is how long the writes of a connection may still block: each as long as
// Limits.StuckFor, which its methods are given, and none beyond a moment that may be
// set once.
type writeBound struct {
	until atomic.Int64 // mono.Instant; 0 is unset
}

// due returns when a write that begins now has to be done.
func (p *writeBound) due(stuckFor time.Duration) mono.Instant {
	due := mono.Now().Add(stuckFor)
	if until := p.until.Load(); until != 0 {
		due = min(due, mono.Instant(until))
	}
	return due
}

// arm sets the deadline of a write that begins now, and returns it.
func (p *writeBound) arm(stuckFor time.Duration, set func(time.Time) error) mono.Instant {
	due := p.due(stuckFor)
	_ = set(due.Deadline()) // not all writers can
	if p.bounded() {
		due = p.due(stuckFor) // it may have been set, and its deadline overwritten, meanwhile
		_ = set(due.Deadline())
	}
	return due
}

// bounded reports whether the moment has been set.
func (p *writeBound) bounded() bool { return p.until.Load() != 0 }

// set sets the moment, if it has not been set, and returns it as a deadline.
func (p *writeBound) set(wait time.Duration) time.Time {
	p.until.CompareAndSwap(0, int64(mono.Now().Add(wait)))
	return mono.Instant(p.until.Load()).Deadline()
}

// write writes all of b or fails when it is due. It leaves no deadline behind,
// since a write that does not block would find it expired later.
func (p *writeBound) write(nc net.Conn, b []byte, stuckFor time.Duration) error {
	p.arm(stuckFor, nc.SetWriteDeadline)
	_, err := nc.Write(b)
	if !p.bounded() {
		_ = nc.SetWriteDeadline(time.Time{})
	}
	return err
}
