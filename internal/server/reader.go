package server

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/dialect"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/nonblock"
)

// answerWait is how long a client may take to answer a close before the
// connection is cut.
const answerWait = time.Second

// messageWait is how long what has begun may take, from the first wait for the rest of
// it. What has come takes memory, and pings in between are signs of life.
const messageWait = 30 * time.Second

var errSilent = errors.New("client has been silent for too long")

// reader is the reading half of a connection. The one goroutine that reads is
// also the one that keeps the time: the deadline of its read is the next
// moment at which something is due, so no connection needs a timer. It knows
// nothing of what is read.
type reader struct {
	net.Conn
	ahead   nonblock.Reader
	watched *clientsocket.Connection
	timing  *dialect.Timing
	begun   bool         // what is read is the rest of a message
	due     mono.Instant // when that must have come; 0 before it has been waited for
	cutAt   atomic.Int64 // mono.Instant: when the connection is cut, since it is closed; 0 before
}

// Read implements net.Conn. Between two bytes of the client it does what is
// due; it fails with errSilent when the connection counts as broken.
func (k *reader) Read(p []byte) (int, error) {
	if k.begun && k.due == 0 && !k.ahead.Buffered() {
		k.due = mono.Now().Add(messageWait)
		if !k.wind() {
			return 0, errSilent
		}
	}
	for {
		n, err := k.readOnce(p)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if k.cutAt.Load() != 0 || !k.wind() {
			return 0, errSilent
		}
	}
}

func (k *reader) readOnce(p []byte) (int, error) {
	if k.ahead.Possible() {
		return k.ahead.Read(p)
	}
	return k.Conn.Read(p)
}

// attach gives the reader its connection.
func (k *reader) attach(nc net.Conn) {
	k.Conn = nc
	nonblock.BoundUnsent(nc) // or a client that reads slowly looks like one that does not
	k.ahead.Init(nonblock.Socket(nc))
}

// message calls read, which reads the rest of a message.
func (k *reader) message(read func() error) error {
	k.begun = true
	err := read()
	k.begun, k.due = false, 0
	return err
}

// await waits until there is something to read, or an error.
func (k *reader) await() error {
	_, err := k.Read(nil)
	return err
}

// drain reads and drops what comes until the connection ends, or until more than
// most bytes have come, if that is not 0.
func (k *reader) drain(most int) {
	var one [1]byte
	for n := 0; most == 0 || n <= most; n++ {
		if _, err := k.Read(one[:]); err != nil {
			return
		}
		n += k.ahead.Discard()
	}
}

// close closes the connection. Only the goroutine that reads may call it.
func (k *reader) close() {
	k.ahead.Discard()
	if at := mono.Instant(k.cutAt.Load()); at != 0 && mono.Now() >= at {
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
func (k *reader) wind() bool {
	wait, alive := k.watched.Watch(k.timing.Heartbeat, k.timing.Silence, k.timing.Ping, k.timing.Early)
	if k.due != 0 {
		left := k.due.Sub(mono.Now())
		wait, alive = min(wait, left), alive && left > 0
	}
	switch {
	case !alive:
		return false
	case wait == mono.Never:
		_ = k.SetReadDeadline(time.Time{})
	default:
		_ = k.SetReadDeadline(time.Now().Add(wait))
	}
	if at := k.cutAt.Load(); at != 0 { // that deadline stands, however much the client has to say
		_ = k.SetReadDeadline(mono.Instant(at).Deadline())
	}
	return true
}

// cut has the connection closed after a time, in which the client may read what
// is on its way and close it.
func (k *reader) cut(after time.Duration) {
	at := mono.Now().Add(after)
	k.cutAt.Store(int64(at))
	_ = k.SetReadDeadline(at.Deadline())
}
