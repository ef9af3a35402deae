package server

import (
	"net/http"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/dialect"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// pollLine is the connection of a client that polls: what its replies hold, and how
// long it may do without a poll. Between two polls it costs a timer.
type pollLine struct {
	conn    clientsocket.Connection
	polls   *polls
	dialect *dialect.Dialect // of Phoenix; nil is chime

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	awaited bool                     // the timer may fire, or its function runs: Shutdown waits for it, and so for the last reply
	closed  bool                     // the timer is of no use any more
	until   mono.Instant             // when it is aborted, since it ends; 0 before
	rc      *http.ResponseController // of the reply that is being written; nil without one
}

// polledLine returns the line that a client polls with secret, or nil. A secret of one of
// Phoenix's clients is none for a client of the chime dialect, and the other way round.
func polledLine(c *clientsocket.ClientSocket, secret string, phoenix bool) *pollLine {
	if c == nil {
		return nil
	}
	n := c.Polled(secret)
	if n == nil {
		return nil
	}
	if l := n.Line().(*pollLine); (l.dialect != nil) == phoenix {
		return l
	}
	return nil
}

// begin has l look at what is due. The client socket is there.
func (l *pollLine) begin() {
	l.mu.Lock()
	if !l.closed {
		l.polls.tasks.Add()
		l.awaited = true
		l.timer = l.polls.tasks.After(l.silence(), l.fired)
	}
	l.mu.Unlock()
	l.look()
}

// fired is called by the timer, which may have been too late to be stopped.
func (l *pollLine) fired() {
	l.look()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.release()
	}
}

// release is called when the timer will not fire any more. l.mu is held.
func (l *pollLine) release() {
	if l.awaited {
		l.awaited = false
		l.polls.tasks.Done()
	}
}

// silence is how long a client may do without a poll.
func (l *pollLine) silence() time.Duration {
	if l.dialect != nil {
		return phoenixHold + phoenixHold/2 // as Phoenix; its clients have no goodbye
	}
	return dialect.Silence
}

// look does what is due, and has itself called when something is again.
func (l *pollLine) look() {
	wait, alive := l.conn.Watch(0, l.silence(), nil, nil)
	l.mu.Lock()
	if l.until != 0 {
		left := l.until.Sub(mono.Now())
		wait, alive = left, alive && left > 0
	}
	if alive && !l.closed {
		l.timer.Reset(wait)
	}
	l.mu.Unlock()
	if !alive {
		l.conn.Abort(transport.Vanished)
	}
}

// write calls f, which writes a reply, and bounds how long that may take, what net/http
// does afterwards included.
func (l *pollLine) write(rc *http.ResponseController, f func()) {
	l.mu.Lock()
	if l.rc != nil { // the client has given up the reply before
		_ = l.rc.SetWriteDeadline(time.Now())
	}
	l.rc = rc
	_ = rc.SetWriteDeadline(l.due().Deadline()) // not all writers can
	l.mu.Unlock()
	f()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rc == rc {
		l.rc = nil
	}
}

// due is when a write that begins now has to be done. l.mu is held.
func (l *pollLine) due() mono.Instant {
	due := mono.Now().Add(l.polls.limits.StuckFor)
	if l.until != 0 {
		due = min(due, l.until)
	}
	return due
}

// Transport implements clientsocket.Line.
func (l *pollLine) Transport() stats.Transport { return stats.LongPoll }

// Encode implements clientsocket.Line.
func (l *pollLine) Encode(b []byte, it queue.Item, _ uint64) (_ []byte, ends bool) {
	if l.dialect != nil {
		return l.dialect.AppendQuoted(b, it.M, it.To), false
	}
	return append(it.M.AppendElement(b), ','), false
}

// Farewell implements clientsocket.Line. Like a stream, it has no close frame.
func (l *pollLine) Farewell(b []byte, code wire.CloseCode, reason string, _ bool) []byte {
	if l.dialect != nil {
		return b // the next poll is told
	}
	return append(wire.NewClosed(code, reason).AppendElement(b), ',')
}

// Open implements clientsocket.Line.
func (l *pollLine) Open(b []byte) []byte { return b }

// Seal implements clientsocket.Line: there is a comma behind each frame.
func (l *pollLine) Seal(b []byte, _ bool) []byte {
	if len(b) == 0 {
		return b
	}
	return append(b[:len(b)-1], "]}\n"...)
}

// BoundWrites implements clientsocket.Line. A farewell waits no longer than that for a
// poll.
func (l *pollLine) BoundWrites(wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until != 0 {
		return
	}
	if l.closed {
		return
	}
	l.until = mono.Now().Add(wait)
	if l.rc != nil {
		_ = l.rc.SetWriteDeadline(l.until.Deadline())
	}
	if l.timer != nil {
		l.timer.Reset(wait)
	}
}

// Close implements clientsocket.Line.
func (l *pollLine) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

// Abort implements clientsocket.Line.
func (l *pollLine) Abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	if l.rc != nil {
		_ = l.rc.SetWriteDeadline(time.Now())
	}
}

// end stops the timer. l.mu is held.
func (l *pollLine) end() {
	l.closed = true
	if l.timer != nil && l.timer.Stop() {
		l.release()
	}
}
