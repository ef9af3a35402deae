package channel

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/wire"
)

// topic is a topic somebody is in: its members, and the newest of its history.
type topic struct {
	hub   *Hub
	name  string
	users int // guarded by the shard: sockets that are in it or on their way

	reading chan struct{} // full while the tail is read from the store
	loaded  atomic.Bool   // the tail and last are true

	mu      sync.Mutex // guards what follows; never held over I/O
	members []*Socket
	last    uint64 // offset of the last retained message announced or read
	tail    tail
	lost    uint64      // no position before this one is recovered
	erased  int         // how often something was forgotten or redacted
	asked   time.Time   // when a join last asked for what only a wide tail has
	idle    *time.Timer // narrows a wide tail
	extra   int         // what the tail takes beyond maxTailBytes, as the hub knows it
}

// member is a socket as its topic sees it.
type member struct {
	index   int             // in topic.members, or outside
	live    bool            // gets what is published; else it is catching up with the history
	asked   bool            // for positions: what is retained goes to its join_ref
	seen    uint64          // offset up to which it has got the history
	pending []*wire.Message // ephemeral messages for when it is live
}

const outside = -1

// maxPending bounds the ephemeral messages that wait for a client to catch up.
// The oldest are dropped: they were never promised.
const maxPending = 64

func newTopic(h *Hub, name string, r *route) *topic {
	t := &topic{hub: h, name: name, tail: newTail(r)}
	if r.keep != nil {
		t.reading = make(chan struct{}, 1)
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
		t.account()
	}
	for _, s := range t.members {
		switch {
		case p.From != "" && s.ID() == p.From:
		case p.Offset > 0 && p.Offset <= s.member.seen: // read from the store before it was announced
		case s.member.live:
			_ = s.client.cs.Send(m, s.to()) // a client that is gone or slow is told elsewhere
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
	t.account()
	t.erased++
	t.lost = 0 // with less there is less to recover
	t.loaded.Store(false)
}

const (
	// A crowd that comes back after a restart is spread over some seconds.
	wideTime = 5 * time.Second
	// What the wide tails of all topics may take together, or one process with
	// thousands of topics could fill its memory with what nobody asks for again.
	maxWideBytes = 64 << 20
)

// widen gives the tail room for all that a join may be replayed, until nobody
// has asked for a while. t.mu is held.
func (t *topic) widen() {
	t.asked = time.Now()
	if !t.tail.wide {
		t.tail.wide = true
		t.idle = time.AfterFunc(wideTime, t.tire)
	}
}

// tire narrows the tail, unless it is still of use.
func (t *topic) tire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rest := time.Until(t.asked.Add(wideTime)); t.tail.wide && rest > 0 {
		t.idle.Reset(rest)
		return
	}
	t.narrow()
}

// narrow gives back the room. t.mu is held.
func (t *topic) narrow() {
	if t.tail.wide {
		t.idle.Stop()
		t.tail.narrow()
		t.account()
	}
}

// account tells the hub what the tail takes beyond what any may. t.mu is held.
func (t *topic) account() {
	extra := 0
	if t.tail.wide {
		extra = max(0, t.tail.bytes-maxTailBytes)
	}
	grown := extra - t.extra
	if grown == 0 {
		return
	}
	t.extra = extra
	if all := t.hub.wide.Add(int64(grown)); grown > 0 && all > maxWideBytes {
		t.narrow()
	}
}

// close is called when nobody is in the topic any more.
func (t *topic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.narrow()
}
