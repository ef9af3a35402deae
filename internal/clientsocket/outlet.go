package clientsocket

import (
	"errors"
	"os"

	"github.com/go-chime/chime/internal/flush"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/nonblock"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

const (
	maxWrite   = 64 << 10     // joined into one write
	blockWrite = 16 << 10     // given to a write that may block, which must get through in a time
	maxControl = 4 << 10      // waiting on a connection besides messages
	maxShare   = 4 * maxWrite // of one connection, before the others of its flusher
)

// outlet decides what is written to a connection next, and sees to it that one
// goroutine at a time writes: the flusher's, or one of its own while a write
// blocks. ClientSocket.mu guards its fields; no write happens under it.
type outlet struct {
	n        *Connection
	control  []byte // to go out before the next message
	reason   string // of the farewell
	code     wire.CloseCode
	closing  bool // a farewell is due, and nothing comes behind it
	answered bool // the client closed first: there is nothing to wait for
	listed   bool // on the flusher's list
	writing  bool
	blocked  bool // by the goroutine of its own, since the connection took no more
	over     bool // nothing more is written
	polled   bool // its client asks for what is written; writing and blocked are set while no poll is parked
	left     bool // its client has said goodbye, and does not poll for the farewell
	poll     *Poll
}

// wake reports whether the caller must put o on the flusher's list, and takes
// note that it does. c.mu is held.
func (o *outlet) wake() bool {
	if o.listed || o.writing {
		return false // whoever writes looks again when it is done
	}
	o.listed = true
	return true
}

// rouse has what waits written. c.mu is held; fan-out, which is to hold it for
// less, calls wake and adds o to the list later.
func (o *outlet) rouse() {
	if o.wake() {
		o.n.c.flusher.Add(o)
	}
}

// add queues what belongs to the connection. A peer that asks for answers and does
// not read them gets no more. c.mu is held.
func (o *outlet) add(b []byte) {
	if o.closing || len(o.control)+len(b) > maxControl {
		return
	}
	o.control = append(o.control, b...)
	o.rouse()
}

// close has a farewell written, the first one given. What the client socket has
// queued goes out before it, if that has ended too. c.mu is held.
func (o *outlet) close(code wire.CloseCode, reason string) {
	if o.closing {
		return
	}
	o.closing, o.code, o.reason = true, code, reason
	o.rouse()
}

// abort has nothing more written. c.mu is held.
func (o *outlet) abort() {
	o.over, o.closing, o.control = true, true, nil
	o.poll.wake()
	o.n.c.out.wait.wake()
}

// Flush implements flush.Connection: what would block, or would keep others
// waiting for long, is left to a goroutine or to the end of the list.
func (o *outlet) Flush(f *flush.Flusher, now mono.Instant) {
	n := o.n
	n.c.mu.Lock()
	o.listed = false
	if o.writing || o.over {
		n.c.mu.Unlock()
		return
	}
	o.writing = true
	if o.polled {
		o.poll.wake()
		n.c.out.wait.wake()
		n.c.mu.Unlock()
		return
	}
	n.c.mu.Unlock()
	line := n.line.(Link)
	for share := 0; ; {
		if share > maxShare {
			o.giveWay()
			return
		}
		var last bool
		if f.Buffer, last = o.next(f.Buffer[:0]); len(f.Buffer) == 0 {
			return
		}
		share += len(f.Buffer)
		n.lastWrite.Store(int64(now))
		written, err := line.Try(&f.Writer, f.Buffer)
		switch {
		case errors.Is(err, nonblock.ErrNoSocket):
			rest, write := append([]byte(nil), f.Buffer...), f.Hand()
			o.block()
			n.c.clients.config.Tasks.Go(func() {
				defer write.End()
				if o.write(rest, last) {
					o.giveWay()
				}
			})
			return
		case err != nil:
			n.Abort(transport.Vanished) // and writing stays true, as in drain
			return
		case written < len(f.Buffer):
			rest := append([]byte(nil), f.Buffer[written:]...)
			o.block()
			n.c.clients.config.Tasks.Go(func() { o.drain(rest, last) })
			return
		case last:
			o.finish()
			return
		}
	}
}

// giveWay puts o back on the list of its flusher, behind all others, if there is
// more to write.
func (o *outlet) giveWay() {
	o.n.c.mu.Lock()
	defer o.n.c.mu.Unlock()
	o.writing = false
	if o.due() {
		o.rouse()
	} else {
		o.blocked = false
	}
}

// block takes note that the connection takes no more without waiting.
func (o *outlet) block() {
	o.n.c.mu.Lock()
	o.blocked = true
	o.n.c.mu.Unlock()
}

// drain writes to a connection that is full, until all is written.
func (o *outlet) drain(rest []byte, last bool) {
	for o.write(rest, last) {
		if rest, last = o.next(rest[:0]); len(rest) == 0 {
			return
		}
	}
}

// write writes all of b, and waits where it must. It reports whether more may follow.
func (o *outlet) write(b []byte, last bool) bool {
	n := o.n
	for len(b) > 0 {
		size := min(len(b), blockWrite)
		if err := n.line.(Link).Write(b[:size]); err != nil {
			// writing stays true: another write would put a new frame behind
			// half of this one.
			if errors.Is(err, os.ErrDeadlineExceeded) {
				n.c.mu.Lock()
				slow := n.c.slow(stats.SlowStuck)
				n.c.mu.Unlock()
				n.c.tellSlow(slow)
				n.Abort(transport.Slow)
			} else {
				n.Abort(transport.Vanished)
			}
			return false
		}
		n.lastWrite.Store(int64(mono.Now()))
		b = b[size:]
	}
	if last {
		o.finish()
	}
	return !last
}

// next encodes what is to be written next into b, and reports whether it is the
// last. With nothing to write, writing ends.
func (o *outlet) next(b []byte) (_ []byte, last bool) {
	c := o.n.c
	c.mu.Lock()
	b = o.take(b)
	if len(b) == 0 {
		o.writing, o.blocked = false, false
	}
	last = o.over
	ready := c.out.takeReady()
	c.mu.Unlock()
	if ready != nil {
		ready()
	}
	return b, last
}

// due reports whether there is anything to write. c.mu is held.
func (o *outlet) due() bool {
	out := &o.n.c.out
	return !o.over && (len(o.control) > 0 || o.closing || out.carrier == o.n && out.queue.Due() > 0)
}

// take encodes what is due, up to about maxWrite bytes, and at the end the
// farewell. c.mu is held.
func (o *outlet) take(b []byte) []byte {
	c, line := o.n.c, o.n.line
	carries := c.out.carrier == o.n
	q := &c.out.queue
	if !o.due() {
		return b
	}
	b = append(line.Open(b), o.control...)
	o.control = nil
	if carries {
		frames := 0
		for q.Due() > 0 && len(b) < maxWrite {
			it, number := q.Next()
			frames++
			var ends bool
			if b, ends = line.Encode(b, it, number); ends && !c.ended {
				c.end(wire.CloseDisconnect, "", transport.Vanished)
				c.clients.config.Tasks.Go(c.reportEnd)
			}
			if !c.keeps && !o.polled {
				q.Forget()
			}
		}
		c.clients.config.Stats.FramesOut.Add(uint64(frames))
		if !o.polled { // the next poll acknowledges, or has it written again
			q.Trim(c.clients.config.Limits.UnackedMessages, c.clients.config.Limits.UnackedBytes)
		}
	}
	if o.closing && !(carries && q.Due() > 0) {
		b = line.Farewell(b, o.code, o.reason, c.ended && !o.answered)
		o.over = true
		if carries && c.ended {
			q.Clear() // what is not acknowledged is not sent again
		}
	}
	b = line.Seal(b, o.over)
	c.clients.config.Stats.BytesOut.Add(uint64(len(b)))
	return b
}

// finish closes the connection when its farewell is out.
func (o *outlet) finish() {
	o.n.c.mu.Lock()
	o.writing = false
	answered := o.answered
	o.n.c.mu.Unlock()
	if answered {
		o.n.line.Abort()
	} else {
		o.n.line.Close()
	}
}
