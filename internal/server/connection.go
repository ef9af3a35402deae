package server

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

const (
	maxWrite   = 64 << 10     // joined into one write
	blockWrite = 16 << 10     // given to a write that may block, which must get through in writeWait
	maxControl = 4 << 10      // waiting on a connection besides messages
	maxTurn    = 4 * maxWrite // of one connection, before the others of its flusher
)

// connection is one WebSocket or one stream, as far as they are the same. It
// carries the messages of its client if the client has promoted it; before and
// after that only what concerns itself.
type connection struct {
	c    *client
	line line
	up   uint64 // counted frames read here, and those that the client had been told of; guarded by client.upstream

	// Guarded by client.mu.
	control []byte // to go out before the next message
	reason  string // of its farewell
	code    wire.CloseCode
	ending  bool // a farewell is due, and nothing comes behind it
	echo    bool // the client closed first: there is nothing to wait for
	dirty   bool // on the flusher's list
	writing bool // the flusher or a goroutine is writing
	over    bool // nothing more is written

	chunked bool // a stream's writes are chunks; here, where it takes no room

	unused    atomic.Int64 // when it ends unless it is promoted, Unix ns; 0 once it is
	lastWrite atomic.Int64 // Unix ns; the reader's clock looks at it
}

// line is a connection as its client socket sees it: how messages look on it,
// and how bytes get out. Only the holder of connection.writing calls try and
// write; the encoding methods are called under client.mu.
type line interface {
	transport() string
	// encode appends one message; number is 0 if it is not counted.
	encode(b []byte, c *client, it item, number uint64) []byte
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

// wake reports whether the caller must put n on the flusher's list. c.mu is held.
func (n *connection) wake() bool {
	if n.dirty || n.writing {
		return false // whoever writes looks again when it is done
	}
	n.dirty = true
	return true
}

// rouse has what waits written. c.mu is held; who is in a hurry to give it back
// calls wake, and adds n to the flusher's list later.
func (n *connection) rouse() {
	if n.wake() {
		n.c.flusher.add(n)
	}
}

// sendControl queues a message that belongs to the connection. c.mu is held.
func (n *connection) sendControl(m *wire.Message) {
	n.sendBytes(n.line.encode(nil, n.c, item{m: m}, 0))
}

// sendBytes is sendControl of what is encoded. A peer that asks for answers and
// does not read them gets no more. c.mu is held.
func (n *connection) sendBytes(b []byte) {
	if n.ending || len(n.control)+len(b) > maxControl {
		return
	}
	n.control = append(n.control, b...)
	n.rouse()
}

// finish ends the connection with a farewell, the first one given. What its
// client has queued goes out before it, if the client has ended too. c.mu is held.
func (n *connection) finish(code wire.CloseCode, reason string) {
	if n.ending {
		return
	}
	n.ending, n.code, n.reason = true, code, reason
	n.rouse()
}

// dismiss ends the connection while its client goes on elsewhere. c.mu is held.
func (n *connection) dismiss(code wire.CloseCode, reason string) {
	n.finish(code, reason)
	n.c.server.tasks.Go(func() { n.line.hurry(hangUpWait) })
}

// close ends the client with the connection that carries it. Another
// connection ends alone.
func (n *connection) close(code wire.CloseCode, reason string) {
	n.c.mu.Lock()
	ends := n.conclude(code, reason)
	n.c.mu.Unlock()
	if ends {
		n.c.tellEnd()
	}
}

// conclude is close without tellEnd, which must follow, without c.mu, if it
// reports true. No other connection may be promoted between the look at c.conn
// and the end. c.mu is held.
func (n *connection) conclude(code wire.CloseCode, reason string) bool {
	c := n.c
	switch {
	case c.conn != n:
		n.dismiss(code, reason)
		return false
	case c.ended:
		return false
	}
	c.end(code, reason, transport.Closed)
	return true
}

// peerClosed takes note that the client has closed the connection. It is done,
// if it says so or can't resume; else it will be back.
func (n *connection) peerClosed(code wire.CloseCode) {
	c := n.c
	c.mu.Lock()
	n.echo = true
	done := code == wire.CloseNormal || code == wire.CloseNoStatus
	carries, ends := c.conn == n, false
	if carries && !c.ended && !done && c.resumable() {
		n.dismiss(code, "")
		c.detach()
	} else {
		if carries {
			c.queue.clear() // it reads no more
		}
		ends = n.conclude(code, "")
	}
	c.mu.Unlock()
	if ends {
		c.tellEnd()
	}
}

// broken takes note that the connection is: nothing more can be written. The
// client, if the connection carries it, is detached or else ends with why.
func (n *connection) broken(why transport.Reason) {
	c := n.c
	c.mu.Lock()
	n.over = true
	n.ending = true
	n.control = nil
	ends := c.conn == n
	switch {
	case !ends:
		c.candidateBroke(n)
	case !c.ended && c.resumable():
		c.detach()
		ends = false
	default:
		if !c.ended {
			c.end(0, "", why)
		}
		c.queue.clear()
	}
	c.mu.Unlock()
	n.line.hangUp(false)
	if ends {
		c.tellEnd()
	}
}

// watch does what is due on a connection that carries its client, or may come
// to, and returns when to look again; zero is never.
func (n *connection) watch(now time.Time, heartbeat time.Duration) time.Time {
	var next time.Time
	if heartbeat > 0 {
		next = n.beat(now, heartbeat)
	}
	if at := n.unused.Load(); at != 0 {
		if at <= now.UnixNano() {
			n.c.mu.Lock()
			if n.unused.Load() != 0 { // a POST may have promoted it in this moment
				n.dismiss(wire.CloseReplaced, "not used")
			}
			n.c.mu.Unlock()
		} else {
			next = earlier(next, time.Unix(0, at))
		}
	}
	if at := n.c.expiry(); !at.IsZero() {
		if at.After(now) {
			next = earlier(next, at)
		} else if n.carries() {
			n.c.Close(wire.CloseDisconnect, "expired", transport.Expired)
		}
	}
	return next
}

// beat sends a heartbeat unless something else has been written since before
// now-every, and returns when to look again.
func (n *connection) beat(now time.Time, every time.Duration) time.Time {
	if next := time.Unix(0, n.lastWrite.Load()).Add(every); now.Before(next) {
		return next
	}
	c := n.c
	c.mu.Lock()
	busy := n.writing || c.conn == n && c.queue.due() > 0
	if !busy {
		n.sendControl(wire.NewHeartbeat(c.queue.sent(), c.received.Load()))
	}
	c.mu.Unlock()
	return now.Add(every)
}

// flush writes what n has to, as long as that needs no waiting, and nobody has
// to wait for it long. Only the goroutine of its flusher calls it.
func (n *connection) flush(f *flusher, now int64) {
	n.c.mu.Lock()
	n.dirty = false
	if n.writing || n.over {
		n.c.mu.Unlock()
		return
	}
	n.writing = true
	n.c.mu.Unlock()
	for turn := 0; ; {
		if turn > maxTurn {
			n.giveWay()
			return
		}
		var last bool
		if f.buf, last = n.next(f.buf[:0]); len(f.buf) == 0 {
			return
		}
		turn += len(f.buf)
		n.lastWrite.Store(now)
		written, err := n.line.try(&f.write, f.buf)
		switch {
		case err != nil:
			n.broken(transport.Gone) // and n.writing stays, as in drain
			return
		case written < len(f.buf):
			rest := append([]byte(nil), f.buf[written:]...)
			n.c.server.tasks.Go(func() { n.drain(rest, last) })
			return
		case last:
			n.hangUp()
			return
		}
	}
}

// giveWay puts n back on the list of its flusher, behind all others.
func (n *connection) giveWay() {
	n.c.mu.Lock()
	n.writing = false
	n.rouse()
	n.c.mu.Unlock()
}

// drain writes to a connection that is full, or can't be written to without
// waiting, until all is written. It owns n.writing.
func (n *connection) drain(rest []byte, last bool) {
	for {
		for len(rest) > 0 {
			size := min(len(rest), blockWrite)
			if err := n.line.write(rest[:size]); err != nil {
				// n.writing stays set: another write would put a new frame behind
				// half of this one.
				if errors.Is(err, os.ErrDeadlineExceeded) {
					n.broken(transport.Slow)
				} else {
					n.broken(transport.Gone)
				}
				return
			}
			n.lastWrite.Store(time.Now().UnixNano())
			rest = rest[size:]
		}
		if last {
			n.hangUp()
			return
		}
		if rest, last = n.next(rest[:0]); len(rest) == 0 {
			return
		}
	}
}

// next encodes what is to be written next into b, and reports whether it is the
// last. With nothing to write, n.writing ends.
func (n *connection) next(b []byte) (_ []byte, last bool) {
	c := n.c
	c.mu.Lock()
	b = n.take(b, maxWrite)
	if len(b) == 0 {
		n.writing = false
	}
	last = n.over
	waiting := c.takeWaiting()
	c.mu.Unlock()
	call(waiting)
	return b, last
}

// hangUp ends the connection when its farewell is out.
func (n *connection) hangUp() {
	n.c.mu.Lock()
	n.writing = false
	echo := n.echo
	n.c.mu.Unlock()
	n.line.hangUp(!echo)
}

// take encodes what is due, up to about limit bytes, and at the end the
// farewell. c.mu is held.
func (n *connection) take(b []byte, limit int) []byte {
	c := n.c
	carries := c.conn == n
	if n.over || len(n.control) == 0 && !n.ending && !(carries && c.queue.due() > 0) {
		return b
	}
	b = append(n.line.open(b), n.control...)
	n.control = nil
	if carries {
		for c.queue.due() > 0 && len(b) < limit {
			it, number := c.queue.next()
			b = n.line.encode(b, c, it, number)
			if !c.keeps {
				c.queue.forget()
			}
		}
		c.queue.trim(c.server.limits.UnackedMessages, c.server.limits.UnackedBytes)
	}
	if n.ending && !(carries && c.queue.due() > 0) {
		b = n.line.farewell(b, n.code, n.reason)
		n.over = true
	}
	return n.line.seal(b, n.over)
}

// receive takes a frame of a WebSocket or of a bare stream's URL. On a resumed
// connection the numbers go on from what the client was told in its hello.
func (n *connection) receive(f wire.Frame) {
	c := n.c
	c.upstream.Lock()
	defer c.upstream.Unlock()
	if c.told {
		return
	}
	counted := wire.Counted(f.Topic)
	if c.chime && f.Topic == wire.TopicChime {
		switch err := c.control(n, f); {
		case err == nil:
		case errors.Is(err, errBeyond):
			// Who has miscounted would do so on every connection.
			c.Close(wire.CloseUndecodable, err.Error(), transport.Closed)
		default:
			n.close(wire.CloseUndecodable, err.Error())
		}
		return
	}
	if !n.carries() {
		if counted && n.unused.Load() != 0 {
			n.close(wire.CloseUndecodable, "the first frame after resumed:true is an ack")
		}
		return
	}
	if c.chime && counted {
		n.up++
		if n.up <= c.received.Load() {
			return
		}
		c.received.Store(n.up)
	}
	c.deliver(f)
}

// carries reports whether n carries its client, for who does not hold c.mu.
func (n *connection) carries() bool {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.conn == n
}

// deliver hands one frame on, or answers it if it concerns the connection.
// c.upstream is held.
func (c *client) deliver(f wire.Frame) {
	if f.Topic != wire.TopicPhoenix {
		c.receiver.Receive(f)
		return
	}
	joinRef, status, response := wire.Ref{}, "error", `{"reason":"unmatched topic"}`
	switch f.Event {
	case wire.EventHeartbeat:
		status, response = "ok", "{}"
	case wire.EventLeave: // as of any topic that it has not joined
		joinRef, status, response = f.JoinRef, "ok", "{}"
	}
	_ = c.Send(wire.NewReply(joinRef, f.Ref, f.Topic, status, []byte(response)), "")
}

// control takes a frame of the topic chime that came for connection n, which is
// nil if it is broken. c.upstream is held.
func (c *client) control(n *connection, f wire.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Event {
	case wire.EventAck:
		received, err := wire.AckedBy(f.Payload)
		if err != nil {
			return err
		}
		if n == nil || n == c.conn {
			return c.acked(received)
		}
		return c.promote(n, received)
	case wire.EventProbe:
		nonce, err := wire.ProbedWith(f.Payload)
		if err != nil {
			return err
		}
		if n != nil {
			n.sendControl(wire.NewProbeOK(nonce))
		}
	}
	return nil // what a later version may say is only a sign of life
}
