package channel

import (
	"sync/atomic"

	"github.com/go-chime/chime/internal/wire"
)

// lists is what is held of the replays of one client.
type lists struct {
	turn chan struct{} // full while a socket has the turn
	lent atomic.Int64  // bytes of the lists that are held without it
}

// lists returns those of c, made when they are needed.
func (c *client) lists() *lists {
	if c.held.Load() == nil {
		c.held.CompareAndSwap(nil, &lists{turn: make(chan struct{}, 1)})
	}
	return c.held.Load()
}

// borrow lets s hold a list that is in memory anyway, and short, though it has
// not the turn: a client that does not read what one topic has for it would not
// get into another. It reports whether the client has not too much of that.
func (s *Socket) borrow(list []*wire.Message) bool {
	lists, size := s.client.lists(), sizeOfList(list)
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
