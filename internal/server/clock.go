package server

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

const (
	// defaultHeartbeat is under the 30 s of CloudFront and the 60 s of nginx,
	// ALB and HAProxy. Two may be lost before a connection counts as broken.
	defaultHeartbeat = 15 * time.Second
	silenceSlack     = 5 * time.Second
	// phoenixSilence is the time Phoenix gives its clients, whose own heartbeat
	// comes every 30 s.
	phoenixSilence = 60 * time.Second
	// amberHeartbeat is what amber.js expects: it connects anew after 100 s without.
	amberHeartbeat = 30 * time.Second
	// hangUpWait is how long a client may take to answer a close before the
	// connection is cut.
	hangUpWait = time.Second
	// endWait is how long what is queued for a client may take after its end.
	endWait = 5 * time.Second
	// writeWait is how long one write of up to blockWrite bytes may block.
	writeWait = 10 * time.Second
)

var errSilent = errors.New("client has been silent for too long")

// clock is the reading half of a connection. The one goroutine that reads is
// also the one that keeps the time: the deadline of its read is the next
// moment at which something is due, so no connection needs a timer.
type clock struct {
	net.Conn
	ahead    readAhead
	conn     *connection
	timing   *timing
	pulsed   int64        // when the last pulse was sent, Unix ns
	lastRead int64        // Unix ns
	hungUp   atomic.Int64 // the deadline that hangUp has set, Unix ns; 0 before
}

// Read implements net.Conn. Between two bytes of the client it does what is
// due; it fails with errSilent when the connection counts as broken.
func (k *clock) Read(p []byte) (int, error) {
	for {
		n, err := k.readOnce(p)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			k.lastRead = time.Now().UnixNano()
			return n, err
		}
		if k.hungUp.Load() != 0 || !k.wind() {
			return 0, errSilent
		}
	}
}

// pulse sends the pulse if it is due, and returns when the next one is.
func (k *clock) pulse(now time.Time, every time.Duration) time.Time {
	if k.pulsed == 0 {
		k.pulsed = now.UnixNano()
	}
	next := time.Unix(0, k.pulsed).Add(every)
	if now.Before(next) {
		return next
	}
	k.pulsed = now.UnixNano()
	k.conn.c.mu.Lock()
	k.conn.sendBytes(k.timing.pulse)
	k.conn.c.mu.Unlock()
	return now.Add(every)
}

func (k *clock) readOnce(p []byte) (int, error) {
	if k.ahead.possible() {
		return k.ahead.read(p)
	}
	return k.Conn.Read(p)
}

// attach gives the clock its connection.
func (k *clock) attach(nc net.Conn) {
	k.Conn = nc
	k.ahead.init(rawConn(nc))
	k.lastRead = time.Now().UnixNano()
}

// await waits until there is something to read, or an error.
func (k *clock) await() error {
	_, err := k.Read(nil)
	return err
}

// drain reads and drops what comes until the connection ends, or until more than
// most bytes have come, if that is not 0.
func (k *clock) drain(most int) {
	var one [1]byte
	for n := 0; most == 0 || n <= most; n++ {
		if _, err := k.Read(one[:]); err != nil {
			return
		}
		n += k.ahead.giveBack()
	}
}

// close closes the connection. Only the goroutine that reads may call it.
func (k *clock) close() {
	k.ahead.giveBack()
	if at := k.hungUp.Load(); at != 0 && time.Now().UnixNano() >= at {
		if conn, ok := k.Conn.(*tls.Conn); ok {
			// Its Close says goodbye, and waits 5 s for a peer that does not
			// read. This one has had its time.
			_ = conn.NetConn().Close()
			return
		}
	}
	_ = k.Conn.Close()
}

// wind does what is due and sets the deadline for what is next. It reports
// false when the connection counts as broken.
func (k *clock) wind() bool {
	now := time.Now()
	var next time.Time
	if k.timing.silence > 0 {
		gone := time.Unix(0, k.lastRead).Add(k.timing.silence)
		if !now.Before(gone) {
			return false
		}
		next = gone
	}
	heartbeat := k.timing.heartbeat
	if k.timing.pulse != nil {
		next = earlier(next, k.pulse(now, heartbeat))
		heartbeat = 0
	}
	if due := k.conn.watch(now, heartbeat); !due.IsZero() {
		next = earlier(next, due)
	}
	_ = k.SetReadDeadline(next)
	if at := k.hungUp.Load(); at != 0 { // that deadline stands, however much the client has to say
		_ = k.SetReadDeadline(time.Unix(0, at))
	}
	return true
}

// hangUp gives the client a moment to read what is on its way and to close.
func (k *clock) hangUp(politely bool) {
	at := time.Now()
	if politely {
		at = at.Add(hangUpWait)
	}
	k.hungUp.Store(at.UnixNano())
	_ = k.SetReadDeadline(at)
}

// earlier returns the earlier of two deadlines, of which a may be none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// patience is how long the writes of a connection may still block: writeWait
// each, and none beyond a moment that may be set once.
type patience struct {
	until atomic.Int64 // Unix ns; 0 is unset
}

// due returns the deadline of a write that begins now.
func (p *patience) due() time.Time {
	due := time.Now().Add(writeWait)
	if until := p.until.Load(); until != 0 {
		due = earlier(due, time.Unix(0, until))
	}
	return due
}

// arm sets the deadline of a write that begins now, and returns it.
func (p *patience) arm(set func(time.Time) error) time.Time {
	due := p.due()
	_ = set(due) // not all writers can
	if p.until.Load() != 0 {
		due = p.due() // it may have been set, and its deadline overwritten, meanwhile
		_ = set(due)
	}
	return due
}

// end sets the moment, if it has not been set, and returns it.
func (p *patience) end(wait time.Duration) time.Time {
	p.until.CompareAndSwap(0, time.Now().Add(wait).UnixNano())
	return time.Unix(0, p.until.Load())
}

// writeBounded writes all of b or fails when patience ends. It leaves no
// deadline behind, since a write that does not block would find it expired later.
func writeBounded(nc net.Conn, b []byte, p *patience) error {
	p.arm(nc.SetWriteDeadline)
	_, err := nc.Write(b)
	if p.until.Load() == 0 {
		_ = nc.SetWriteDeadline(time.Time{})
	}
	return err
}
