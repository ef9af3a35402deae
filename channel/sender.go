package channel

import (
	"fmt"
	"sync"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// sender is what a socket sends to its client, besides broadcasts. What the
// client sees of a topic begins with the reply to its join and ends with the
// leave. It knows neither the topic's members nor its history.
type sender struct {
	mu    sync.Mutex // guards what follows, and the order of what goes to the client
	phase phase
	early *[]*wire.Message // pushed by HandleJoined, to follow the reply; nil: nothing
}

// phase is how far a socket has come.
type phase int8

const (
	joining phase = iota
	joined
	left
)

// maxEarly bounds what HandleJoined may push.
const maxEarly = 256

var errTooEarly = fmt.Errorf("push in HandleJoined: %d already wait for the reply: want at most %[1]d", maxEarly)

// push sends m, or has it wait for the reply to the join.
func (s *sender) push(cs transport.ClientSocket, m *wire.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase == left:
		return ErrLeft
	case s.phase == joined:
		return send(cs, m)
	case s.early == nil:
		s.early = &[]*wire.Message{m}
		return nil
	case len(*s.early) >= maxEarly:
		return errTooEarly
	}
	*s.early = append(*s.early, m)
	return nil
}

// reply sends the answer to a message.
func (s *sender) reply(cs transport.ClientSocket, m *wire.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != joined {
		return ErrLeft
	}
	return send(cs, m)
}

// send queues m. If the client socket has ended, or ends by this, the client has
// left. The sender's mu is held.
func send(cs transport.ClientSocket, m *wire.Message) error {
	if cs.Send(m, "") != nil {
		return ErrLeft
	}
	return nil
}

// greet sends the reply to the join, and behind it what was pushed before. From
// here on the client sees the topic.
func (s *sender) greet(cs transport.ClientSocket, reply *wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = joined
	_ = send(cs, reply)
	if s.early != nil {
		for _, m := range *s.early {
			_ = send(cs, m)
		}
		s.early = nil
	}
}

// leave ends what the client sees, with the frames given if that has begun.
func (s *sender) leave(cs transport.ClientSocket, last ...*wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == joined {
		for _, m := range last {
			_ = send(cs, m)
		}
	}
	s.phase, s.early = left, nil
}
