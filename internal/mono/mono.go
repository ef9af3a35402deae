// Package mono measures intervals by the monotonic clock: a wall clock that is
// set must not end a connection. It is for moments that are kept as a number,
// since they are atomic or there are many; a time.Time that nothing has been
// stripped of does the same. What comes from outside, as an expiry, is wall time.
package mono

import (
	"math"
	"time"
)

// Instant is a moment of this process, in nanoseconds. Zero is unset.
type Instant int64

// Never is longer than any interval.
const Never time.Duration = math.MaxInt64

var start = time.Now()

// Now returns the present moment.
func Now() Instant { return at(start) }

func at(start time.Time) Instant { return Instant(time.Since(start)) + 1 } // 0 is no moment

// Add returns the moment d after i.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the interval from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Deadline returns i in the form that connections take.
func (i Instant) Deadline() time.Time { return time.Now().Add(i.Sub(Now())) }
