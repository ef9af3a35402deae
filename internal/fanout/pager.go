package fanout

import (
	"context"
	"slices"
	"sync"

	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
)

// Queue is the queue of a client socket, as transport.ClientSocket has it.
type Queue interface {
	ID() string
	Send(m *wire.Message, joinRef string) error
	Offer(m *wire.Message, joinRef string) bool
	Ready(f func()) bool
}

// Pager sends pages to those members of one client that are behind, one page at a
// time and only as the client's queue has room. So a client that does not read
// costs a position in each topic, and one page in all. No goroutine waits for
// room, but those that Claim: the queue calls again. A Pager knows neither topics
// nor histories.
type Pager struct {
	queue Queue
	tasks *task.Group

	mu     sync.Mutex // guards the rest; taken with a topic's lock held
	behind *[]due     // nil: none, as of most clients at most times
	busy   bool       // a page is being sent, or the queue will call
	closed bool
}

// due is what is to come: a page for a member that is behind, or one that whoever waits
// sends itself.
type due struct {
	m       *Member
	granted chan struct{} // closed when it may be sent; nil: it is a member's
}

// Init sets p up for the queue of a client socket. Goroutines are tasks.
func (p *Pager) Init(queue Queue, tasks *task.Group) { p.queue, p.tasks = queue, tasks }

// Claim waits until no page is being sent and the queue has room for one, which the
// caller may then send. Release has to follow, unless there is an error, which is that of
// ctx. When the client socket ends, those who wait go on at once.
func (p *Pager) Claim(ctx context.Context) error {
	if p.claim() {
		return nil
	}
	granted := make(chan struct{})
	p.add(due{granted: granted})
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
		if !p.remove(due{granted: granted}) {
			p.Release() // it was granted at the same moment
		}
		return context.Cause(ctx)
	}
}

// Release ends a Claim.
func (p *Pager) Release() { p.release(nil) }

// add puts a page behind the others. It does not block.
func (p *Pager) add(d due) {
	p.mu.Lock()
	p.push(d)
	busy := p.busy || p.closed
	p.busy = true
	p.mu.Unlock()
	if !busy && p.queue.Ready(p.wake) {
		p.wake()
	}
}

// claim reports whether the caller may send a page itself. Then release follows.
func (p *Pager) claim() bool {
	p.mu.Lock()
	busy := p.busy || p.closed
	p.busy = true
	p.mu.Unlock()
	return !busy && p.queue.Ready(p.wake)
}

// release ends a claim. m is to be sent more; nil is nobody.
func (p *Pager) release(m *Member) {
	p.mu.Lock()
	if m != nil {
		p.push(due{m: m})
	}
	p.busy = p.behind != nil
	busy := p.busy
	p.mu.Unlock()
	if busy && p.queue.Ready(p.wake) {
		p.wake()
	}
}

// remove forgets a page, and reports whether it was there: a client that joins again
// and again must not pile up members while its queue has no room.
func (p *Pager) remove(d due) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behind == nil {
		return false
	}
	before := len(*p.behind)
	after := slices.DeleteFunc(*p.behind, func(other due) bool { return other == d })
	p.keep(after)
	return len(after) < before
}

// push puts a page behind the others. p.mu is held.
func (p *Pager) push(d due) {
	switch {
	case p.closed:
		d.grant()
	case p.behind == nil:
		p.behind = &[]due{d}
	default:
		*p.behind = append(*p.behind, d)
	}
}

// grant has one who waits go on.
func (d due) grant() {
	if d.granted != nil {
		close(d.granted)
	}
}

// keep has these be what is to come. p.mu is held.
func (p *Pager) keep(behind []due) {
	if len(behind) == 0 {
		p.behind = nil
		return
	}
	*p.behind = behind
}

// Close has nothing more sent: the client socket has ended, whose queue takes
// everything now, while members may stay for as long as their handlers run.
func (p *Pager) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behind != nil {
		for _, d := range *p.behind {
			d.grant()
		}
	}
	p.closed, p.behind = true, nil
}

func (p *Pager) wake() { p.tasks.Go(p.run) }

// run sends a page to each member in turn, as long as there is room.
func (p *Pager) run() {
	for d, ok := p.next(); ok; d, ok = p.next() {
		if d.granted != nil {
			d.grant() // and goes on being busy, until Release
			return
		}
		if d.m.topic.page(d.m) {
			p.mu.Lock()
			p.push(d)
			p.mu.Unlock()
		}
		if !p.queue.Ready(p.wake) {
			return
		}
	}
}

// next takes a page out, or ends being busy.
func (p *Pager) next() (d due, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behind == nil {
		p.busy = false
		return due{}, false
	}
	behind := *p.behind
	d, behind[0] = behind[0], due{}
	p.keep(behind[1:])
	return d, true
}
