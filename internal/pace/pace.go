// Package pace bounds how often something may happen: on average so many times a
// second, and for a while more. A bucket is one word, and no timer fills it.
package pace

import (
	"time"

	"github.com/go-chime/chime/internal/mono"
)

// Rate is how often something may happen. The zero value is as often as it likes.
type Rate struct {
	every time.Duration // on average
	burst time.Duration // how far ahead of the average it may be
}

// ahead is how far one may be ahead of the average: what this time allows, at once.
const ahead = 10 * time.Second

// Of returns the rate of so many times a second, and of ten times as many, or of burst
// if that is more, at once. A negative number is no bound.
func Of(perSecond, burst int) Rate {
	if perSecond < 0 {
		return Rate{}
	}
	every := max(time.Second/time.Duration(perSecond), 1)
	return Rate{every, max(ahead, every*time.Duration(burst))}
}

// Within returns the rate of n in any d, all of them at once too. Both are at least 1.
func Within(n int, d time.Duration) Rate { return Rate{max(d/time.Duration(n), 1), d} }

// Bucket is what one has used of a Rate. The zero value is unused. It has no lock.
type Bucket struct {
	paid mono.Instant // when all that was used is paid for; 0: nothing was
}

// next is when n more will be paid for.
func (b *Bucket) next(r Rate, n int, now mono.Instant) mono.Instant {
	from := now
	if b.paid != 0 {
		from = max(b.paid, now)
	}
	return from.Add(time.Duration(n) * r.every)
}

// Take uses n, whether they are allowed or not, and returns whether they are. It
// reports enough when what was used and not allowed is as much as what is allowed at
// once: whoever is told, and goes on all the same, gets there.
func (b *Bucket) Take(r Rate, n int, now mono.Instant) (allowed, enough bool) {
	if r.every == 0 {
		return true, false
	}
	b.paid = b.next(r, n, now)
	debt := b.paid.Sub(now)
	if debt > 2*r.burst {
		b.paid = now.Add(2 * r.burst)
	}
	return debt <= r.burst, debt > 2*r.burst
}

// Try uses n if they are allowed. Otherwise it returns how long it is until they will be.
func (b *Bucket) Try(r Rate, n int, now mono.Instant) time.Duration {
	if r.every == 0 {
		return 0
	}
	paid := b.next(r, n, now)
	if wait := paid.Sub(now) - r.burst; wait > 0 {
		return wait
	}
	b.paid = paid
	return 0
}

// Return gives back n of what was used.
func (b *Bucket) Return(r Rate, n int) { b.paid = b.paid.Add(-time.Duration(n) * r.every) }
