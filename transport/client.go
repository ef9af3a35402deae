package transport

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/wire"
)

const (
	maxWrite   = 64 << 10 // joined into one write
	blockWrite = 16 << 10 // given to a write that may block, which must get through in writeWait
)

// client is the ClientSocket behind both transports. It owns the queue and the
// numbers; the connection it writes to is a line.
type client struct {
	id, secret string
	identity   Identity
	chime      bool // speaks the chime dialect: hello, numbers, positions
	ctx        context.Context
	server     *Server
	flusher    *flusher
	receiver   Receiver // set before the first frame is read

	mu      sync.Mutex // guards what follows; held for memory operations only, never over I/O
	line    line
	queue   queue
	sent    uint64 // counted frames written
	rare    *rare
	end     ending
	dirty   bool // on the flusher's list
	writing bool // the flusher or a goroutine is writing

	lastWrite atomic.Int64 // Unix ns; the reader's clock looks at it

	upstream sync.Mutex // guards received and gone, and orders the calls of the receiver
	received uint64     // counted frames taken from the client
	gone     bool       // the receiver has been told
}

// rare is what few clients ever have.
type rare struct {
	control []byte   // control frames to go out before the next message
	waiting []func() // Ready's callers
}

// uncommon returns c.rare, made if need be. c.mu is held.
func (c *client) uncommon() *rare {
	if c.rare == nil {
		c.rare = &rare{}
	}
	return c.rare
}

// ending is how far the end of a client has come.
type ending struct {
	begun  bool // nothing more is queued
	why    Reason
	code   wire.CloseCode
	reason string
	over   bool // the connection is not written to any more
	echo   bool // the client closed first: there is nothing to wait for
}

// line is a connection as its client socket sees it: how messages look on it,
// and how bytes get out. Only the holder of client.writing calls try and
// write; the encoding methods are called under client.mu.
type line interface {
	transport() string
	// encode appends one message.
	encode(b []byte, c *client, it item) []byte
	// farewell appends what says why the connection ends.
	farewell(b []byte, code wire.CloseCode, reason string) []byte
	// open begins a write at the end of b, seal ends it; nothing follows the last.
	open(b []byte) []byte
	seal(b []byte, last bool) []byte
	// try writes what goes without waiting.
	try(w *nonblocking, b []byte) (int, error)
	// write writes all of b, or fails after writeWait.
	write(b []byte) error
	// hurry makes a write that blocks, and all later ones, fail after a time.
	hurry(wait time.Duration)
	// hangUp ends the connection. Politely lets the client read what is still
	// on its way; it does not block.
	hangUp(politely bool)
}

func (c *client) ID() string               { return c.id }
func (c *client) Identity() Identity       { return c.identity }
func (c *client) Context() context.Context { return c.ctx }

func (c *client) Transport() string { return c.line.transport() }

// Send implements ClientSocket. It is the fan-out path: two short locks, no
// allocation but the growth of the queue.
func (c *client) Send(m *wire.Message, to string) error {
	c.mu.Lock()
	if c.end.begun {
		c.mu.Unlock()
		return ErrClosed
	}
	limits := &c.server.limits
	if c.queue.n >= limits.QueueMessages || c.queue.bytes+m.Size() > limits.QueueBytes && c.queue.n > 0 {
		c.begin(wire.CloseSlow, "too slow", Slow)
		c.queue.clear()
		wake := c.wake()
		c.mu.Unlock()
		if wake {
			c.flusher.add(c)
		}
		// Send may be called under locks of the channel side, Closed may not.
		c.server.tasks.Go(func() {
			c.line.hurry(hangUpWait)
			c.closed()
		})
		return ErrSlow
	}
	c.queue.push(item{m, to})
	wake := c.wake()
	c.mu.Unlock()
	if wake {
		c.flusher.add(c)
	}
	return nil
}

// wake reports whether the caller must put c on the flusher's list. c.mu is held.
func (c *client) wake() bool {
	if c.dirty || c.writing {
		return false // whoever writes looks again when it is done
	}
	c.dirty = true
	return true
}

// Ready implements ClientSocket.
func (c *client) Ready(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end.begun || c.hasRoom() {
		return true // at the end Send says so
	}
	r := c.uncommon()
	r.waiting = append(r.waiting, f)
	return false
}

// hasRoom leaves most of the queue to what happens live. c.mu is held.
func (c *client) hasRoom() bool {
	limits := &c.server.limits
	return c.queue.bytes <= limits.QueueBytes/4 && c.queue.n <= limits.QueueMessages/4
}

// sendControl queues bytes that belong to the connection, in front of the messages.
func (c *client) sendControl(b []byte) {
	c.mu.Lock()
	r := c.uncommon()
	if c.end.begun || len(r.control)+len(b) > maxControl {
		c.mu.Unlock()
		return // a peer that pings without reading gets no pongs
	}
	r.control = append(r.control, b...)
	wake := c.wake()
	c.mu.Unlock()
	if wake {
		c.flusher.add(c)
	}
}

const maxControl = 4 << 10

// Close implements ClientSocket.
func (c *client) Close(code wire.CloseCode, reason string, why Reason) {
	c.mu.Lock()
	if c.end.begun {
		c.mu.Unlock()
		return
	}
	c.begin(code, reason, why)
	wake := c.wake()
	c.mu.Unlock()
	if wake {
		c.flusher.add(c)
	}
	c.closed()
}

// begin marks the end. The first reason counts: the client may answer with an
// end of its own before the receiver is told. c.mu is held.
func (c *client) begin(code wire.CloseCode, reason string, why Reason) {
	c.end.begun, c.end.code, c.end.reason, c.end.why = true, code, reason, why
}

// broken ends the client when its connection has: nothing more can be written.
func (c *client) broken(why Reason) {
	c.mu.Lock()
	if !c.end.begun {
		c.end.begun, c.end.why = true, why
	}
	c.end.over = true
	c.queue.clear()
	waiting := c.takeWaiting()
	c.mu.Unlock()
	c.line.hangUp(false)
	call(waiting)
	c.closed()
}

// closed tells the receiver, once, and forgets the client.
func (c *client) closed() {
	if c.server.forget(c) {
		c.line.hurry(endWait) // a trickling reader must not hold up a Shutdown; the first to hurry counts
		c.mu.Lock()
		why := c.end.why
		c.mu.Unlock()
		c.upstream.Lock()
		defer c.upstream.Unlock()
		c.gone = true
		c.receiver.Closed(why)
		c.server.tasks.Done()
	}
}

// expire ends the client because its identity has expired.
func (c *client) expire() { c.Close(wire.CloseDisconnect, "expired", Expired) }

// receive hands one frame on, or answers it if it concerns the connection. The
// chime dialect numbers its frames.
func (c *client) receive(f wire.Frame) {
	c.upstream.Lock()
	defer c.upstream.Unlock()
	c.deliver(f)
}

// deliver is receive with c.upstream held.
func (c *client) deliver(f wire.Frame) {
	switch {
	case c.gone:
	case f.Topic == wire.TopicPhoenix:
		status, response := "error", `{"reason":"unmatched topic"}`
		if f.Event == wire.EventHeartbeat {
			status, response = "ok", "{}"
		}
		_ = c.Send(wire.NewReply(wire.Ref{}, f.Ref, f.Topic, status, []byte(response)), "")
	case f.Topic == wire.TopicChime && c.chime:
		// An ack only needs to arrive: it shows that the client is there.
	default:
		if c.chime {
			c.received++
		}
		c.receiver.Receive(f)
	}
}

// beat sends a heartbeat unless something else has been written since before
// now-every, and returns when to look again.
func (c *client) beat(now time.Time, every time.Duration) time.Time {
	if next := time.Unix(0, c.lastWrite.Load()).Add(every); now.Before(next) {
		return next
	}
	c.mu.Lock()
	sent, busy := c.sent, c.queue.n > 0 || c.writing
	c.mu.Unlock()
	if !busy {
		_ = c.Send(wire.NewHeartbeat(sent), "")
	}
	return now.Add(every)
}

// flush writes what c has queued as long as that needs no waiting. Only the
// goroutine of c's flusher calls it.
func (c *client) flush(f *flusher, now int64) {
	c.mu.Lock()
	c.dirty = false
	if c.writing || c.end.over {
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	for {
		var last bool
		if f.buf, last = c.next(f.buf[:0]); len(f.buf) == 0 {
			return
		}
		c.lastWrite.Store(now)
		n, err := c.line.try(&f.write, f.buf)
		switch {
		case err != nil:
			c.broken(Gone) // and c.writing stays, as in drain
			return
		case n < len(f.buf):
			rest := append([]byte(nil), f.buf[n:]...)
			c.server.tasks.Go(func() { c.drain(rest, last) })
			return
		case last:
			c.hangUp()
			return
		}
	}
}

// drain writes for a client whose connection is full, or can't be written to
// without waiting, until all is written. It owns c.writing.
func (c *client) drain(rest []byte, last bool) {
	for {
		for len(rest) > 0 {
			n := min(len(rest), blockWrite)
			if err := c.line.write(rest[:n]); err != nil {
				// C.writing stays set: another write would put a new frame behind
				// half of this one.
				if errors.Is(err, os.ErrDeadlineExceeded) {
					c.broken(Slow)
				} else {
					c.broken(Gone)
				}
				return
			}
			c.lastWrite.Store(time.Now().UnixNano())
			rest = rest[n:]
		}
		if last {
			c.hangUp()
			return
		}
		if rest, last = c.next(rest[:0]); len(rest) == 0 {
			return
		}
	}
}

// next encodes what is to be written next into b, and reports whether it is the
// last. With nothing to write, c.writing ends.
func (c *client) next(b []byte) (_ []byte, last bool) {
	c.mu.Lock()
	b = c.take(b, maxWrite)
	if len(b) == 0 {
		c.writing = false
	}
	last = c.end.over
	waiting := c.takeWaiting()
	c.mu.Unlock()
	call(waiting)
	return b, last
}

func (c *client) hangUp() {
	c.mu.Lock()
	c.writing = false
	echo := c.end.echo
	c.mu.Unlock()
	c.line.hangUp(!echo)
}

// take encodes what waits, up to about limit bytes, and after the last message
// of an ended client its farewell. c.mu is held.
func (c *client) take(b []byte, limit int) []byte {
	control := c.takeControl()
	if c.end.over || c.queue.n == 0 && len(control) == 0 && !c.end.begun {
		return b
	}
	b = append(c.line.open(b), control...)
	for c.queue.n > 0 && len(b) < limit {
		it := c.queue.pop()
		if it.m.Counted() {
			c.sent++
		}
		b = c.line.encode(b, c, it)
	}
	if c.queue.n == 0 && c.end.begun {
		b = c.line.farewell(b, c.end.code, c.end.reason)
		c.end.over = true
	}
	return c.line.seal(b, c.end.over)
}

func (c *client) takeControl() []byte {
	if c.rare == nil {
		return nil
	}
	control := c.rare.control
	c.rare.control = nil
	return control
}

// takeWaiting returns Ready's callers when there is room again. c.mu is held.
func (c *client) takeWaiting() []func() {
	if c.rare == nil || c.rare.waiting == nil || !c.end.begun && !c.hasRoom() {
		return nil
	}
	waiting := c.rare.waiting
	c.rare.waiting = nil
	return waiting
}

func call(fs []func()) {
	for _, f := range fs {
		f()
	}
}
