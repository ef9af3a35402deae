package channel

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// The hand-over from history to live, without a gap and without a double: a
// socket becomes a member first, so that nothing after that can pass it by
// unnoticed; it reads the history up to what was committed then, and goes on
// reading until it has reached the top; there, under the topic's lock, it
// turns live. While it is behind, retained messages are not queued for it,
// since it will read them: a client that reads slowly holds a position, not a queue.

// replay is what a socket that catches up still has to send. Of what is read for
// one client only one list is held at a time, or a client that never reads could
// have the server hold many: the socket that has it has the client's turn. Short
// lists that are in memory anyway are held without, up to a bound.
type replay struct {
	list     []*wire.Message
	pos      uint64                  // everything up to here is sent or in list
	promised bool                    // list is what the reply to the join has announced, and must not be dropped
	waiting  *atomic.Pointer[Socket] // what is called when there is room calls this
	turn     chan struct{}           // the client's, if it is this socket's
	hurry    chan struct{}           // closed to end the wait for it
	borrowed int                     // bytes that list counts for, without the turn
}

const (
	// A short replay that is in memory goes out under the topic's lock, with the reply.
	shortReplay = 64
	// A page is what one look at the tail or the store takes.
	pageMessages = 100
	pageBytes    = 256 << 10
)

// enter makes an accepted socket a member, sends the reply to its join and
// what HandleJoined pushed, and then the history it asked for.
func (s *Socket) enter(ref wire.Ref, response body, want ask) {
	t := s.topic
	if s.route.keep == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.add(s, true, 0)
		if response.binary {
			s.greet(wire.NewBinaryReply(s.joinRef, ref, t.name, response.data))
		} else {
			s.greet(wire.NewJoinReply(s.joinRef, ref, t.name, response.data, nil, false))
		}
		return
	}
	reply := func(h *wire.History) {
		s.greet(wire.NewJoinReply(s.joinRef, ref, t.name, response.data, h, want.positioned()))
	}
	failed := t.load(s.context()) // what this join wants may still be what can be read
	t.mu.Lock()
	list, recovered, ok := s.fromTail(want)
	h := s.found(want, t.last, len(list), recovered)
	if ok && s.isShort(list) && s.queueAll(list, func() {
		t.add(s, true, t.last)
		reply(h)
	}) {
		t.mu.Unlock()
		return
	}
	t.add(s, false, 0)
	cut := t.last
	t.mu.Unlock()
	s.fallBehind()
	if ok && s.isShort(list) && s.borrow(list) {
		s.hold(list, cut, true)
		reply(h)
		s.catchUp()
		return
	}
	if !s.takeTurn() {
		t.remove(s)
		s.settle()
		s.enterWithout(want, reply)
		return
	}
	list, h, err := s.read(want)
	if failed == nil {
		failed = err
	}
	if failed != nil && s.context().Err() == nil { // else its end has come, and did not wait for the store
		s.client.hub.log.Error("history could not be read", "topic", t.name, "error", failed)
	}
	if h == nil {
		t.remove(s)
		s.settle()
		s.enterWithout(want, reply)
		return
	}
	s.hold(list, h.Offset, true)
	reply(h)
	s.catchUp()
}

// isShort reports whether a list fits into a queue that has room, with as much
// room left for what happens live.
func (s *Socket) isShort(list []*wire.Message) bool {
	limits := &s.client.hub.limits
	return len(list) <= min(shortReplay, limits.QueueMessages/4) && sizeOfList(list) <= limits.QueueBytes/4
}

// sizeOfList is what a list counts for in a queue.
func sizeOfList(list []*wire.Message) (size int) {
	for _, m := range list {
		size += m.Size()
	}
	return size
}

// queueAll queues a list, after what first does, if the client has room. It
// holds client.replays: the joins of several topics must not all find the same
// room, and cut off a client that reads as fast as it can.
func (s *Socket) queueAll(list []*wire.Message, first func()) bool {
	s.client.replays.Lock()
	defer s.client.replays.Unlock()
	if !s.client.cs.Ready(func() {}) {
		return false
	}
	first()
	for _, m := range list {
		_ = s.client.cs.Send(m, s.to())
	}
	return true
}

// greet sends the reply and what was pushed while joining. From here on the
// client sees the topic.
func (s *Socket) greet(reply *wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = joined
	_ = s.client.cs.Send(reply, "")
	for _, m := range s.early {
		_ = s.client.cs.Send(m, "")
	}
	s.early = nil
}

// enterWithout lets a client in although nothing of the history can be read.
func (s *Socket) enterWithout(want ask, reply func(*wire.History)) {
	t := s.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(s, true, t.last)
	reply(untold(s.found(want, t.last, 0, false)))
}

// found describes a replay.
func (s *Socket) found(want ask, cut uint64, count int, recovered bool) *wire.History {
	h := &wire.History{Epoch: s.client.hub.history.Epoch(), Offset: cut, Count: count}
	if want.since != nil {
		h.Recovered = &recovered
	}
	return h
}

// untold describes a replay that can't be read. A join that asked for no position
// is told so too, or its client would take the topic for an empty one.
func untold(h *wire.History) *wire.History {
	h.Recovered = new(bool)
	return h
}

// fromTail returns what a join wants, if that is in memory. t.mu is held.
func (s *Socket) fromTail(want ask) (list []*wire.Message, recovered, ok bool) {
	t, now := s.topic, time.Now()
	switch {
	case !t.loaded.Load():
		return nil, false, false
	case !s.resumes(want) || want.since.Offset < t.lost:
		list, ok = t.tail.newest(s.wanted(want), now)
	case want.since.Offset > t.last:
		return nil, false, false // the store may be ahead of its announcements
	default:
		list, ok = t.tail.since(want.since.Offset, maxReplay, now)
		recovered = ok
	}
	if t.tail.wide && t.tail.beyondNarrow(list) {
		t.asked = now
	}
	return list, recovered, ok
}

// resumes reports whether a join asked for a position that means something here.
func (s *Socket) resumes(want ask) bool {
	return want.since != nil && want.since.Epoch == s.client.hub.history.Epoch()
}

// wanted is how many of the newest messages a join gets.
func (s *Socket) wanted(want ask) int {
	if want.last >= 0 {
		return want.last
	}
	return s.route.replay
}

// read gets what a join wants, and all up to the top with it: the join's cut is
// the top at the time of reading. Of a crowd that wants the same one reads the
// store, and the others find it in the tail. What can't be read is left out; the
// error says why, and there is no history only if not even the top is known.
func (s *Socket) read(want ask) ([]*wire.Message, *wire.History, error) {
	t := s.topic
	inMemory := func(part ask) ([]*wire.Message, *wire.History, bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		list, recovered, ok := s.fromTail(part)
		return list, s.found(want, t.last, len(list), recovered), ok
	}
	if list, h, ok := inMemory(want); ok {
		return list, h, nil
	}
	if err := t.claim(s.context()); err != nil {
		return nil, nil, err
	}
	defer t.release()
	if list, h, ok := inMemory(want); ok { // it has waited for who read it
		return list, h, nil
	}
	var failed error
	if s.resumes(want) {
		list, page, err := t.read(s.context(), store.Range{After: want.since.Offset, Limit: maxReplay, Bytes: maxReplayBytes})
		if err == nil && page.Complete && !page.More {
			return list, s.found(want, page.Top, len(list), true), nil
		}
		failed = err // but the newest may be what can be read
	}
	n := s.wanted(want)
	if list, h, ok := inMemory(ask{last: n}); ok {
		return list, h, failed
	}
	if n > 0 {
		list, page, err := t.read(s.context(), store.Range{Newest: true, Limit: n, Bytes: maxReplayBytes})
		if err == nil {
			return list, s.found(want, page.Top, len(list), false), failed
		}
		failed = err
	}
	_, page, err := t.read(s.context(), store.Range{After: math.MaxUint64}) // the top alone, for which no message is read
	if err != nil {
		return nil, nil, err
	}
	h := s.found(want, page.Top, 0, false)
	if n > 0 {
		h = untold(h)
	}
	return nil, h, failed
}

// entriesOf encodes a page.
func entriesOf(topic string, page store.Page) []entry {
	list := make([]entry, len(page.Messages))
	for i, m := range page.Messages {
		list[i] = entry{pushOf(topic, m), m.Prev, m.At}
	}
	return list
}

// catchUp sends what the replay holds, and reads on, as the client's queue has
// room for it. No goroutine waits meanwhile: the queue calls again. Only one
// runs per socket.
func (s *Socket) catchUp() {
	for s.sendList() && s.hasRoom() && s.takeTurn() {
		if !s.readOn() {
			s.settle()
			return
		}
	}
}

// hasRoom reports whether the client has room. If not, catchUp is called when it
// has, by another goroutine, which may already run.
func (s *Socket) hasRoom() bool {
	cs := s.client.cs
	if cs.Ready(nothing) {
		return true
	}
	// The queue of a client that never reads keeps what it is to call: that must
	// not hold on to a socket that has left, nor so to its topic.
	waiting := &atomic.Pointer[Socket]{}
	waiting.Store(s)
	s.mu.Lock()
	s.replay.waiting = waiting // before it can be called
	s.mu.Unlock()
	if cs.Ready(func() {
		if s := waiting.Swap(nil); s != nil {
			s.client.hub.tasks.Go(s.catchUp)
		}
	}) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == left {
		waiting.Store(nil)
	}
	return false
}

func nothing() {}

// sendList sends what the replay holds. It reports whether it is all sent: not if
// the socket has left, nor if the client has no room; then a page is dropped, and
// will be read again.
func (s *Socket) sendList() bool {
	for {
		sent, more := s.sendNext()
		if !sent {
			return !more
		}
	}
}

// sendNext sends the next message of the replay, or reports whether there is more
// to send, at another time. At the end of a list it gives back the turn.
func (s *Socket) sendNext() (sent, more bool) {
	s.client.replays.Lock()
	defer s.client.replays.Unlock()
	r := s.replay
	s.mu.Lock()
	waits := len(r.list) > 0
	s.mu.Unlock()
	room := waits && s.hasRoom()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase != joined:
		return false, true
	case len(r.list) == 0:
		r.promised = false
		s.yield()
		return false, false
	case !room && r.promised:
		return false, true
	case !room:
		r.pos = r.list[0].Offset - 1
		s.yield()
		return false, true
	}
	m := r.list[0]
	r.list[0] = nil
	r.list = r.list[1:]
	return s.client.cs.Send(m, s.to()) == nil, true
}

// readOn gets the next page, or turns the socket live at the top. It reports
// whether there is more to send.
func (s *Socket) readOn() bool {
	t := s.topic
	t.mu.Lock()
	if s.member.index == outside {
		t.mu.Unlock()
		return false
	}
	if s.replay.pos >= t.last {
		for _, m := range s.member.pending {
			_ = s.client.cs.Send(m, "")
		}
		s.member.pending, s.member.live, s.member.seen = nil, true, s.replay.pos
		t.mu.Unlock()
		return false
	}
	list, ok := t.tail.since(s.replay.pos, pageMessages, time.Now())
	top := t.last
	t.mu.Unlock()
	if !ok {
		page, err := s.client.hub.history.Read(s.context(), t.name, store.Range{After: s.replay.pos, Limit: pageMessages, Bytes: pageBytes})
		if err != nil || !page.Complete {
			s.overrun(err)
			return false
		}
		list, top = messages(entriesOf(t.name, page)), page.Top
	}
	if n := len(list); n > 0 {
		top = list[n-1].Offset
	} // else what was there has been redacted
	s.hold(list, top, false)
	return true
}

// overrun ends a join whose client read so slowly that retention has overtaken
// it: what it would get next has a gap. It rejoins and is told so.
func (s *Socket) overrun(err error) {
	if s.context().Err() != nil {
		return // its end is on its way, and has a reason of its own
	}
	c := s.client
	c.hub.log.Debug("history overtook a client that was catching up", "topic", s.topic.name, "client", s.ID(), "error", err)
	c.mu.Lock()
	in := c.inboxes.find(s.topic.name)
	current := in != nil && in.socket == s
	if current {
		in.interrupt(job{why: Slow, text: reason("overrun"), of: s})
	}
	c.mu.Unlock()
	if current {
		s.fail(reason("overrun"))
	}
}
