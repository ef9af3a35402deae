package channeltest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// socket is a transport.ClientSocket whose client reads at once whatever it is
// sent, in the form of the chime dialect, and keeps it until a Want takes it.
type socket struct {
	t        testing.TB
	hub      *channel.Hub
	id       string
	identity transport.Identity
	ctx      context.Context
	receiver transport.Receiver

	upstream sync.Mutex // orders the calls of the receiver, and guards ended
	ended    bool       // the receiver knows of the end

	mu     sync.Mutex // guards what follows
	frames []wire.Frame
	came   chan struct{}     // closed and replaced when a frame has come
	over   map[wire.Ref]bool // joins that the client knows to have ended
	closed bool
}

func (s *socket) ID() string                   { return s.id }
func (s *socket) Identity() transport.Identity { return s.identity }
func (s *socket) Transport() string            { return "channeltest" }
func (s *socket) Context() context.Context     { return s.ctx }
func (s *socket) Ready(func()) bool            { return true }

func (s *socket) Offer(m *wire.Message, to string) bool {
	_ = s.Send(m, to) // after the end nothing is to be sent later
	return true
}

func (s *socket) Send(m *wire.Message, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return transport.ErrClosed
	}
	s.add(m, to)
	return nil
}

func (s *socket) Close(code wire.CloseCode, reason string, why transport.Reason) {
	s.mu.Lock()
	first := !s.closed
	if first {
		s.add(wire.NewClosed(code, reason), "")
		s.closed = true
	}
	s.mu.Unlock()
	if first {
		s.upstream.Lock()
		defer s.upstream.Unlock()
		s.ended = true
		s.receiver.Closed(why)
	}
}

// add reads a message, and wakes a Want that waits for one. s.mu is held.
func (s *socket) add(m *wire.Message, to string) {
	f, err := wire.Decode(m.AppendText(nil, true, to))
	if err != nil {
		s.t.Errorf("%s was sent a frame that can't be decoded: %v", s.id, err)
	}
	if f.Binary != nil {
		f.Payload, _ = channel.Binary(f.Binary).MarshalJSON()
	}
	if f.Event == wire.EventPosition {
		return // no client shows it
	}
	s.frames = append(s.frames, f)
	if f.Event == wire.EventError || f.Event == wire.EventClose {
		s.over[f.JoinRef] = true
	}
	close(s.came)
	s.came = make(chan struct{})
}

func (s *socket) receive(f wire.Frame) {
	s.upstream.Lock()
	defer s.upstream.Unlock()
	if !s.ended {
		s.receiver.Receive(f)
	}
}

// take waits for the first frame that want selects, and takes it out. When no handler
// runs, only the application's own goroutines can still send it, and of a join that has
// ended not even these.
func (s *socket) take(what string, of wire.Ref, want func(wire.Frame) bool) wire.Frame {
	s.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for why := ""; ; {
		s.mu.Lock()
		came, over := s.came, s.over[of]
		i := slices.IndexFunc(s.frames, want)
		if i >= 0 {
			defer s.mu.Unlock()
			f := s.frames[i]
			s.frames = slices.Delete(s.frames, i, i+1)
			return f
		}
		s.mu.Unlock()
		if why != "" {
			s.t.Fatalf("%s: got %s, %s, want %s", s.id, s.unseen(all), why, what)
		}
		if over {
			why = s.wait(came, late.C, 0, "and the join has ended")
		} else {
			why = s.wait(came, late.C, idle, fmt.Sprintf("and no handler has run for %v", idle))
		}
	}
}

// taken takes out the frames that have come and that want selects.
func (s *socket) taken(want func(wire.Frame) bool) (list []wire.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = slices.DeleteFunc(s.frames, func(f wire.Frame) bool {
		wanted := want(f)
		if wanted {
			list = append(list, f)
		}
		return wanted
	})
	return list
}

// wait waits for a frame, and returns "" when one has come. Otherwise it returns why
// none is to be waited for any longer: nothing has run for so long, or it is late.
func (s *socket) wait(came <-chan struct{}, late <-chan time.Time, idle time.Duration, nothing string) string {
	ctx, cancel := context.WithCancel(s.ctx)
	rests := make(chan struct{}) // closed when nothing runs
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		if s.hub.Wait(ctx) == nil {
			close(rests)
		}
	})
	select {
	case <-came:
		return ""
	case <-late:
		return fmt.Sprintf("and a handler runs after %v", patience)
	case <-rests:
	}
	still := time.NewTimer(idle)
	defer still.Stop()
	select {
	case <-came:
		return ""
	case <-still.C:
	}
	cancel()
	if s.hub.Wait(ctx) != nil { // a handler has begun meanwhile
		return ""
	}
	return nothing
}

func all(wire.Frame) bool { return true }

// unseen shows the frames that no Want has taken.
func (s *socket) unseen(which func(wire.Frame) bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, f := range s.frames {
		if which(f) {
			list = append(list, fmt.Sprintf("%s %s%s %s", f.Topic, kind(f), f.Event, f.Payload))
		}
	}
	if list == nil {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// kind says which Want takes an event of a channel: two may have one name.
func kind(f wire.Frame) string {
	switch {
	case f.Topic == wire.TopicChime, f.Event == wire.EventReply, f.Event == wire.EventClose, f.Event == wire.EventError:
		return ""
	case f.JoinRef.Null():
		return "broadcast "
	}
	return "push "
}
