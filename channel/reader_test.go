package channel

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// reader is a client socket whose client reads when a test tells it to: until
// then its queue fills, as transport's does for a connection that is stuck, and
// with the same bounds.
type reader struct {
	id       string
	limits   transport.Limits
	ctx      context.Context
	receiver transport.Receiver
	tasks    task.Group

	upstream sync.Mutex // orders the calls of the receiver, and guards done
	done     bool

	mu      sync.Mutex // guards what follows
	stuck   bool       // reads only by read
	queue   []sent
	bytes   int
	seen    []sent
	waiting []func()
	ended   bool
	sends   func(sent) // called for each message that is queued, if set
}

type sent struct {
	m  *wire.Message
	to string
}

func (s sent) String() string { return string(s.m.AppendText(nil, true, s.to)) }

func newReader(h *Hub, id string) *reader {
	r := &reader{id: id, limits: h.limits, ctx: context.Background()}
	r.receiver = h.Accept(r)
	return r
}

func (r *reader) ID() string                   { return r.id }
func (r *reader) Identity() transport.Identity { return transport.Identity{ID: "user of " + r.id} }
func (r *reader) Transport() string            { return "reader" }
func (r *reader) Context() context.Context     { return r.ctx }

func (r *reader) Send(m *wire.Message, to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return transport.ErrClosed
	}
	if !r.fits(m) {
		r.ended = true
		r.queue, r.bytes = nil, 0
		r.tasks.Go(func() {
			r.wake()
			r.closed(transport.Slow)
		})
		return transport.ErrSlow
	}
	r.put(sent{m, to})
	return nil
}

func (r *reader) Offer(m *wire.Message, to string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return true
	}
	if !r.hasRoom() && r.bytes+m.Size() > min(512<<10, r.limits.QueueBytes/2) {
		return false
	}
	r.put(sent{m, to})
	return true
}

func (r *reader) fits(m *wire.Message) bool {
	return len(r.queue) == 0 || r.bytes+m.Size() <= r.limits.QueueBytes
}

func (r *reader) put(s sent) {
	if r.sends != nil {
		r.sends(s)
	}
	if r.stuck {
		r.queue = append(r.queue, s)
		r.bytes += s.m.Size()
	} else {
		r.seen = append(r.seen, s)
	}
}

func (r *reader) Ready(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.hasRoom() {
		return true
	}
	r.waiting = append(r.waiting, f)
	return false
}

func (r *reader) hasRoom() bool {
	return r.bytes <= min(256<<10, r.limits.QueueBytes/4)
}

// read takes up to n messages from the queue.
func (r *reader) read(n int) {
	r.mu.Lock()
	n = min(n, len(r.queue))
	r.seen = append(r.seen, r.queue[:n]...)
	for _, s := range r.queue[:n] {
		r.bytes -= s.m.Size()
	}
	r.queue = slices.Delete(r.queue, 0, n)
	r.mu.Unlock()
	r.wake()
}

// stick makes the client stop reading, or read again.
func (r *reader) stick(stuck bool) {
	r.mu.Lock()
	r.stuck = stuck
	r.mu.Unlock()
	if !stuck {
		r.read(1 << 30)
	}
}

func (r *reader) wake() {
	r.mu.Lock()
	var waiting []func()
	if r.ended || r.hasRoom() {
		waiting, r.waiting = r.waiting, nil
	}
	r.mu.Unlock()
	for _, f := range waiting {
		f()
	}
}

func (r *reader) Close(_ wire.CloseCode, _ string, why transport.Reason) {
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		return
	}
	r.ended = true
	r.mu.Unlock()
	r.closed(why)
	r.wake() // as the client socket does
}

// over reports whether the client socket has ended.
func (r *reader) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

func (r *reader) closed(why transport.Reason) {
	r.upstream.Lock()
	defer r.upstream.Unlock()
	if !r.done {
		r.done = true
		r.receiver.Closed(why)
	}
}

// says sends a frame to the server: [join_ref, ref, topic, event, payload].
func (r *reader) says(t testing.TB, frame string) {
	t.Helper()
	f, err := wire.Decode([]byte(frame))
	if err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	r.upstream.Lock()
	defer r.upstream.Unlock()
	if !r.done {
		r.receiver.Receive(f)
	}
}

// takes returns what the client has read since the last time.
func (r *reader) takes() (texts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		texts = append(texts, s.String())
	}
	r.seen = nil
	return texts
}

// wants compares what the client has read since the last time.
func (r *reader) wants(t testing.TB, want ...string) {
	t.Helper()
	if got := r.takes(); !slices.Equal(got, want) {
		t.Errorf("%s read\n%q, want\n%q", r.id, got, want)
	}
}
