package clientsocket

import (
	"math"
	"sync/atomic"
	"time"
)

// expiry is when an identity expires. It is wall time, as the application says
// it: the one moment here that a clock which is set may move.
type expiry struct {
	ns atomic.Int64 // Unix; 0 is never
}

// time returns when it is; zero is never.
func (e *expiry) time() time.Time {
	if at := e.ns.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// left returns how long it is until then: a very long time if that is never.
func (e *expiry) left() time.Duration {
	if at := e.ns.Load(); at != 0 {
		return time.Until(time.Unix(0, at))
	}
	return math.MaxInt64
}

func (e *expiry) set(at time.Time) {
	ns := int64(0)
	switch {
	case at.IsZero(), at.Unix() >= math.MaxInt64/int64(time.Second): // in the year 2262; nanoseconds go no further
	case at.Unix() <= 0:
		ns = 1 // 0 would be never
	default:
		ns = at.UnixNano()
	}
	e.ns.Store(ns)
}
