package channel

import (
	"context"
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
	limits, size := &s.client.hub.limits, 0
	for _, m := range list {
		size += m.Size()
	}
	return len(list) <= min(shortReplay, limits.QueueMessages/4) && size <= limits.QueueBytes/4
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

// borrow lets s hold a list that is in memory anyway, and short, though it has
// not the turn: a client that does not read what one topic has for it would not
// get into another. It reports whether the client has not too much of that.
func (s *Socket) borrow(list []*wire.Message) bool {
	size := 0
	for _, m := range list {
		size += m.Size()
	}
	lists := s.client.lists()
	if lists.lent.Add(int64(size)) > int64(s.client.hub.limits.QueueBytes) {
		lists.lent.Add(int64(-size))
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replay.borrowed = size
	return true
}

// takeTurn waits until no other socket of the client has the turn. It reports
// false if s has left meanwhile, or is about to.
func (s *Socket) takeTurn() bool {
	turn := s.client.lists().turn
	select {
	case turn <- struct{}{}:
	default:
		if !s.waitForTurn(turn) {
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replay.turn = turn
	if s.phase == left {
		s.yield()
		return false
	}
	return true
}

func (s *Socket) waitForTurn(turn chan struct{}) bool {
	var hurry chan struct{}
	s.mu.Lock()
	if s.phase == joining { // in the inbox, in the way of what waits there
		hurry = make(chan struct{})
		s.replay.hurry = hurry
	}
	s.mu.Unlock()
	if hurry != nil && s.client.ends(s) {
		return false
	}
	select {
	case turn <- struct{}{}:
		return true
	case <-hurry:
	case <-s.context().Done():
	}
	return false
}

// hasten ends the wait of a join for its turn when its end has come: no handler is
// in the way of that, and nobody will read what it would get. client.mu is held.
func (s *Socket) hasten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replay != nil && s.replay.hurry != nil {
		close(s.replay.hurry)
		s.replay.hurry = nil
	}
}

// hold takes a list that was read with the turn.
func (s *Socket) hold(list []*wire.Message, pos uint64, promised bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != left {
		s.replay.list, s.replay.pos, s.replay.promised = list, pos, promised
	}
}

// fallBehind has s catch up, and settle is the end of that: most sockets never
// do, and need not hold what it takes.
func (s *Socket) fallBehind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replay = &replay{}
}

func (s *Socket) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.yield()
	s.replay = nil
}

// yield drops the list and gives back the turn, if s has it. s.mu is held.
func (s *Socket) yield() {
	r := s.replay
	if r == nil {
		return
	}
	r.list = nil
	if r.borrowed > 0 {
		s.client.lists().lent.Add(int64(-r.borrowed))
		r.borrowed = 0
	}
	if s.phase == left && r.waiting != nil {
		r.waiting.Store(nil)
	}
	if r.turn != nil {
		<-r.turn
		r.turn = nil
	}
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

// load reads the newest messages into the tail, once for all who join at once.
// What is announced meanwhile is in the tail already.
func (t *topic) load(ctx context.Context) error {
	if t.loaded.Load() {
		return nil
	}
	if err := t.claim(ctx); err != nil {
		return err
	}
	defer t.release()
	if t.loaded.Load() {
		return nil
	}
	for {
		t.mu.Lock()
		erased := t.erased
		t.mu.Unlock()
		entries, top, whole, err := t.readTail(ctx)
		if err != nil {
			return err
		}
		t.mu.Lock()
		if t.erased == erased {
			defer t.mu.Unlock()
			t.fill(entries, top, startOf(entries, top), whole)
			return nil
		}
		t.mu.Unlock() // what must go may be among what was read
	}
}

// claim waits until nobody else reads the store for this topic.
func (t *topic) claim(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case t.reading <- struct{}{}:
		return nil
	case <-ctx.Done(): // a client that is kicked does not wait for a store that hangs
		return context.Cause(ctx)
	}
}

func (t *topic) release() { <-t.reading }

// readTail reads what a tail holds, the top, and whether that is all there is.
func (t *topic) readTail(ctx context.Context) (entries []entry, top uint64, whole bool, err error) {
	history := t.hub.history
	page, err := history.Read(ctx, t.name, store.Range{Newest: true, Limit: t.tail.most, Bytes: maxTailBytes})
	if err != nil {
		return nil, 0, false, err
	}
	entries = entriesOf(t.name, page)
	// Less than asked for is all there is, unless the bytes have cut it short.
	whole = len(entries) < t.tail.most
	if whole && len(entries) > 0 && entries[0].prev > 0 {
		oldest, err := history.Read(ctx, t.name, store.Range{Limit: 1})
		if err != nil {
			return nil, 0, false, err
		}
		whole = len(oldest.Messages) == 0 || oldest.Messages[0].Offset >= entries[0].m.Offset
	}
	return entries, page.Top, whole, nil
}

// read reads for one join, and leaves what it got in the tail, which is wide for
// a while, for those who want the same. The topic is claimed.
func (t *topic) read(ctx context.Context, r store.Range) ([]*wire.Message, store.Page, error) {
	t.mu.Lock()
	erased := t.erased
	t.mu.Unlock()
	page, err := t.hub.history.Read(ctx, t.name, r)
	if err != nil {
		return nil, page, err
	}
	entries := entriesOf(t.name, page)
	list := messages(entries) // before the tail drops what it has no room for
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.erased != erased: // what must go may be among it
	case r.Newest:
		t.widen()
		// Less than a join asked for is all that any gets.
		t.fill(entries, page.Top, startOf(entries, page.Top), len(entries) < r.Limit)
	case page.Complete && !page.More:
		t.widen()
		t.fill(entries, page.Top, r.After, false)
	case r.After <= page.Top:
		t.lost = max(t.lost, r.After+1)
	}
	t.account()
	return list, page, nil
}

// fill takes what was read into the tail. t.mu is held.
func (t *topic) fill(entries []entry, top, base uint64, whole bool) {
	t.tail.fill(entries, top, base, whole)
	t.last = max(t.last, top)
	t.loaded.Store(true)
}
