package fanout

import (
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
// room: the queue calls again. A Pager knows neither topics nor histories.
type Pager struct {
	queue Queue
	tasks *task.Group

	mu     sync.Mutex // guards the rest; taken with a topic's lock held
	behind *[]*Member // nil: none, as of most clients at most times
	busy   bool       // a page is being sent, or the queue will call
	closed bool
}

// Init sets p up for the queue of a client socket. Goroutines are tasks.
func (p *Pager) Init(queue Queue, tasks *task.Group) { p.queue, p.tasks = queue, tasks }

// add has m sent pages. It does not block.
func (p *Pager) add(m *Member) {
	p.mu.Lock()
	p.push(m)
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
		p.push(m)
	}
	p.busy = p.behind != nil
	busy := p.busy
	p.mu.Unlock()
	if busy && p.queue.Ready(p.wake) {
		p.wake()
	}
}

// remove forgets m, which has left: a client that joins again and again must not
// pile up members while its queue has no room.
func (p *Pager) remove(m *Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behind != nil {
		p.keep(slices.DeleteFunc(*p.behind, func(other *Member) bool { return other == m }))
	}
}

// push puts m behind the others. p.mu is held.
func (p *Pager) push(m *Member) {
	switch {
	case p.closed:
	case p.behind == nil:
		p.behind = &[]*Member{m}
	default:
		*p.behind = append(*p.behind, m)
	}
}

// keep has these be the members that are behind. p.mu is held.
func (p *Pager) keep(behind []*Member) {
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
	p.closed, p.behind = true, nil
}

func (p *Pager) wake() { p.tasks.Go(p.run) }

// run sends a page to each member in turn, as long as there is room.
func (p *Pager) run() {
	for m := p.next(); m != nil; m = p.next() {
		if m.topic.page(m) {
			p.mu.Lock()
			p.push(m)
			p.mu.Unlock()
		}
		if !p.queue.Ready(p.wake) {
			return
		}
	}
}

// next takes a member out, or ends being busy.
func (p *Pager) next() *Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behind == nil {
		p.busy = false
		return nil
	}
	behind := *p.behind
	m := behind[0]
	behind[0] = nil
	p.keep(behind[1:])
	return m
}
