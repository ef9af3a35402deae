package channel

import (
	"sync"
	"sync/atomic"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/wire"
)

// topic is a topic somebody is in: its members, and the newest of its history.
type topic struct {
	hub   *Hub
	name  string
	route *route
	users int // guarded by the shard: sockets that are in it or on their way

	loading chan struct{} // full while the tail is read from the store
	loaded  atomic.Bool   // the tail and last are true

	mu      sync.Mutex // guards what follows; never held over I/O
	members []*Socket
	last    uint64 // offset of the last retained message announced or read
	tail    tail
	erased  int // how often something was forgotten or redacted
}

// member is a socket as its topic sees it.
type member struct {
	index   int             // in topic.members, or outside
	live    bool            // gets what is published; else it is catching up with the history
	seen    uint64          // offset up to which it has got the history
	to      string          // the join_ref, if the join asked for positions
	pending []*wire.Message // ephemeral messages for when it is live
}

const outside = -1

// maxPending bounds the ephemeral messages that wait for a client to catch up.
// The oldest are dropped: they were never promised.
const maxPending = 64

func newTopic(h *Hub, name string, r *route) *topic {
	t := &topic{hub: h, name: name, route: r, tail: newTail(r)}
	if r.keep != nil {
		t.loading = make(chan struct{}, 1)
	}
	return t
}

// publish queues a message for every member. Its lock is held over memory
// operations only: no client can hold it up.
func (t *topic) publish(p broker.Publication) {
	m := pushOf(t.name, p.Message)
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.Offset > t.last { // else the tail was filled from the store, which had it before it was announced
		t.last = p.Offset
		t.tail.append(entry{m, p.Prev, p.At})
	}
	for _, s := range t.members {
		switch {
		case p.From != "" && s.ID() == p.From:
		case p.Offset > 0 && p.Offset <= s.member.seen: // read from the store before it was announced
		case s.member.live:
			_ = s.client.cs.Send(m, s.member.to) // a client that is gone or slow is told elsewhere
		case p.Offset == 0:
			s.member.hold(m)
		}
	}
}

// hold keeps an ephemeral message for a member that is catching up.
func (mb *member) hold(m *wire.Message) {
	if len(mb.pending) >= maxPending {
		mb.pending = append(mb.pending[:0], mb.pending[1:]...)
	}
	mb.pending = append(mb.pending, m)
}

// add makes s a member, which gets what comes after an offset. t.mu is held.
func (t *topic) add(s *Socket, live bool, seen uint64) {
	s.member.index, s.member.live, s.member.seen = len(t.members), live, seen
	t.members = append(t.members, s)
}

// remove ends the membership of s, if it has one.
func (t *topic) remove(s *Socket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := s.member.index
	if i == outside {
		return
	}
	last := len(t.members) - 1
	t.members[i] = t.members[last]
	t.members[i].member.index = i
	t.members[last] = nil
	t.members = t.members[:last]
	s.member.index, s.member.live, s.member.pending = outside, false, nil
}

func (t *topic) list() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Member, len(t.members))
	for i, s := range t.members {
		list[i] = Member{s.ID(), s.Identity()}
	}
	return list
}

// forget is called when the store has forgotten. What was announced since then
// is not, but only the store can tell which that is.
func (t *topic) forget() { t.erase(func() { t.tail.clear(t.last) }) }

// redact is called when the store has redacted. What was announced since then
// may have made the tail drop a message that the store, with one less, keeps.
func (t *topic) redact(offset uint64) { t.erase(func() { t.tail.redact(offset) }) }

func (t *topic) erase(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	t.erased++
	t.loaded.Store(false)
}
