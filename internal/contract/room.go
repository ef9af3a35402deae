package contract

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/channel"
)

// room is the channel of all scripts. A script replaces what it is about; the
// rest lets everybody in, and of their messages "say" goes to all and "echo"
// comes back. It watches that each client of each topic is treated as promised: one
// call at a time, the join first, then HandleMember once, and for each accepted join
// one leave.
type room struct {
	t      *testing.T
	joined func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error)
	member func(context.Context, *channel.Socket)
	on     map[string]func(context.Context, *channel.Socket, channel.Message) (any, error)
	left   func(context.Context, *channel.Socket, channel.Reason)
	leaves chan leave
	waits  func() // called for ann by an Outgoing
	says   bool   // to who is let in that it is: an Amber client has no other way to know

	mu    sync.Mutex // guards lives and last
	lives map[*channel.Socket]*life
	last  *channel.Socket // the last that was let in
}

// itsIn is what the room says to who is let in.
const itsIn = "you are in"

// leave is one call of HandleLeave.
type leave struct {
	topic string
	why   channel.Reason
}

// life is what the channel has seen of one join.
type life struct {
	in    atomic.Bool  // accepted
	is    atomic.Bool  // a member
	calls atomic.Int32 // running
	left  atomic.Int32
}

func newRoom(t *testing.T) *room {
	r := &room{t: t, lives: map[*channel.Socket]*life{}, leaves: make(chan leave, 1000)}
	r.joined = func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
		return channel.Accept(nil), nil
	}
	r.on = map[string]func(context.Context, *channel.Socket, channel.Message) (any, error){
		"say": func(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
			return nil, s.Rebroadcast(ctx, m)
		},
		"echo": func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
			return m.Payload, nil
		},
	}
	r.member = func(context.Context, *channel.Socket) {}
	r.left = func(context.Context, *channel.Socket, channel.Reason) {}
	return r
}

// begin notes that a handler runs, until end.
func (r *room) begin(s *channel.Socket, handler string) (l *life, end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l = r.lives[s]
	switch {
	case (l == nil) != (handler == "HandleJoined"):
		r.t.Errorf("%s is not in its order", handler)
		fallthrough
	case l == nil:
		l = &life{}
		r.lives[s] = l
	case !l.in.Load() || l.left.Load() > 0:
		r.t.Errorf("%s of a client that is not in the topic", handler)
	}
	if n := l.calls.Add(1); n > 1 {
		r.t.Errorf("%s runs while another handler does", handler)
	}
	return l, func() { l.calls.Add(-1) }
}

func (r *room) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	l, end := r.begin(s, "HandleJoined")
	defer end()
	s.Assign("room", r)
	accepted, err := r.joined(ctx, s, m)
	if err == nil && !reflect.DeepEqual(accepted, channel.Accepted{}) {
		l.in.Store(true)
		r.mu.Lock()
		r.last = s
		r.mu.Unlock()
		if r.says {
			if err := s.Push(itsIn, nil); err != nil {
				r.t.Errorf("Push: %v", err)
			}
		}
	}
	return accepted, err
}

func (r *room) HandleMember(ctx context.Context, s *channel.Socket) {
	l, end := r.begin(s, "HandleMember")
	defer end()
	if l.is.Swap(true) {
		r.t.Errorf("%v: HandleMember was called twice", s)
	}
	r.member(ctx, s)
}

func (r *room) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	l, end := r.begin(s, "HandleMessage")
	defer end()
	if !l.is.Load() {
		r.t.Errorf("%v: a message was handled before HandleMember", s)
	}
	if handle := r.on[m.Event]; handle != nil {
		return handle(ctx, s, m)
	}
	return nil, channel.Refuse("nobody handles " + m.Event)
}

func (r *room) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	l, end := r.begin(s, "HandleLeave")
	defer end()
	if !l.is.Load() && why != channel.Panicked { // its reply could not be sent
		r.t.Errorf("%v: HandleLeave with %q, and HandleMember was not called", s, why)
	}
	r.left(ctx, s, why)
	l.left.Add(1)
	r.leaves <- leave{s.Topic(), why}
}

// socket is that of the client that was let in last.
func (r *room) socket() *channel.Socket {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// forgive notes a leave that will not come to its end.
func (r *room) forgive(s *channel.Socket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lives[s].left.Add(1)
}

// check is for when everybody has gone.
func (r *room) check() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, l := range r.lives {
		want := int32(0)
		if l.in.Load() {
			want = 1
		}
		if got := l.left.Load(); got != want {
			r.t.Errorf("%v: HandleLeave was called %d times, want %d", s, got, want)
		}
	}
}
