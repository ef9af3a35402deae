package channel

import (
	"context"
	"time"
)

// lendAfter is how long the application may take with a page before the client's other
// topics are sent theirs.
const lendAfter = time.Second

// pageClaim is that of a topic to send its client a page, which one topic has at a time: so
// a client that does not read has one page waiting. It belongs to the goroutine of an
// inbox.
type pageClaim struct {
	of    *client
	taken bool
}

// take waits for it, unless it is taken. The error is that of ctx.
func (p *pageClaim) take(ctx context.Context) error {
	if p.taken {
		return nil
	}
	err := p.of.pager.Claim(ctx)
	p.taken = err == nil
	return err
}

// lend calls f, and ends the claim if that takes longer than lendAfter.
func (p *pageClaim) lend(f func()) {
	late := p.of.hub.tasks.After(lendAfter, p.of.pager.Release)
	defer func() { p.taken = late.Stop() }() // also if f ends the goroutine
	f()
}

// end ends it, if it is taken.
func (p *pageClaim) end() {
	if p.taken {
		p.taken = false
		p.of.pager.Release()
	}
}
