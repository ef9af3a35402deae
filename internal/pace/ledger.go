package pace

import (
	"sync"
	"time"

	"github.com/go-chime/chime/internal/mono"
)

// maxAccounts bounds the accounts of a ledger. Beyond that what has none is not bounded:
// a crowd of strangers must not keep others out.
const maxAccounts = 1 << 16

// Ledger has a bucket for each of many names. It forgets those that have been unused for
// so long that they are as good as new. The zero value bounds nothing.
type Ledger struct {
	rate Rate

	mu         sync.Mutex // guards what follows
	young, old map[string]Bucket
	since      mono.Instant // of the young ones
}

// NewLedger returns a ledger of accounts of a rate.
func NewLedger(r Rate) *Ledger { return &Ledger{rate: r} }

// Counts reports whether l bounds anything.
func (l *Ledger) Counts() bool { return l.rate.every != 0 }

// Try is Bucket.Try of the account with a name. Nothing has the name "".
func (l *Ledger) Try(name string) time.Duration {
	if !l.Counts() || name == "" {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := mono.Now()
	if l.young == nil || now.Sub(l.since) > l.rate.burst {
		// What is in debt has been used since then, and was moved to the young ones.
		l.old, l.young, l.since = l.young, map[string]Bucket{}, now
	}
	b, known := l.young[name]
	if !known {
		if len(l.young) >= maxAccounts {
			return 0
		}
		b = l.old[name]
	}
	wait := b.Try(l.rate, 1, now)
	l.young[name] = b
	return wait
}
