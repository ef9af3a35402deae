package server

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/dialect"
	"github.com/go-chime/chime/internal/nonblock"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// streamLine is an event stream. On HTTP/1 it is taken from net/http after the
// headers and the first bytes are out, which middleware has then seen, and
// written without a goroutine; elsewhere the handler stays, and writes go
// through its ResponseWriter.
type streamLine struct {
	conn     clientsocket.Connection
	reader   reader
	bare     *bare          // nil in the chime dialect
	handler  *handlerWriter // nil once hijacked
	writes   writeBound
	stuckFor time.Duration // Limits.StuckFor
	chunked  bool          // writes are chunks of HTTP/1.1
}

// A client of the chime dialect answers heartbeats with a POST. Any other has no way
// to answer on a stream: what has happened to it shows in the writes, if at all, so
// its stream has an age.
var (
	chimeTiming = dialect.Timing{Heartbeat: dialect.Heartbeat, Silence: dialect.Silence, Early: secondBytes}
	bareTiming  = dialect.Timing{Heartbeat: dialect.Heartbeat, Early: secondBytes}
)

// firstBytes go out with the headers: proxies and Firefox wait for some.
const firstBytes = ": chime\n\n"

// secondBytes follow a moment after the hello: some boxes hold what came first until more
// comes, and a client would take the stream for a dead one.
var secondBytes = []byte(":\n\n")

// begin sends the headers and the first bytes, and takes the connection if it can.
func (l *streamLine) begin(w http.ResponseWriter, r *http.Request) error {
	l.reader.watched, l.reader.timing = &l.conn, &chimeTiming
	if l.bare != nil {
		l.reader.timing = &bareTiming
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(l.stuckFor)) // in place of http.Server's, if it can be
	streamHeaders(w.Header(), r.ProtoMajor)
	w.WriteHeader(http.StatusOK)
	// Bytes before the first Flush: a compressing writer decides what to do
	// with a body when it sees the first of it.
	if _, err := w.Write([]byte(firstBytes)); err != nil {
		return err
	}
	encoding := w.Header().Get("Content-Encoding")
	plain := encoding == "identity"
	if buffered, err := flush(w, rc, plain || encoding == ""); err != nil || buffered {
		return cmp.Or(err, errBuffered)
	}
	if r.ProtoMajor == 1 && plain {
		nc, _, err := rc.Hijack()
		if err == nil {
			_ = nc.SetDeadline(time.Time{})
			l.chunked = r.ProtoAtLeast(1, 1)
			l.reader.attach(nc)
			return nil
		}
		if !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	_ = rc.SetWriteDeadline(time.Time{})
	l.handler = newHandlerWriter(w, rc)
	return nil
}

const (
	// bareAge is the most that a stream lives whose client can't answer: behind a proxy
	// that reads on, or on a connection that is out of reach, nothing shows that it has
	// vanished.
	bareAge = 15 * time.Minute
	// unackedWait is how long the network may have nothing of a client that can't
	// answer. With a heartbeat before it that is 45 s.
	unackedWait = 30 * time.Second
)

// age bounds the life of a stream whose client can't answer. Those that began at one
// moment do not end at one.
func (l *streamLine) age() {
	l.conn.EndAfter(bareAge - rand.N(bareAge/3))
	if l.hijacked() {
		nonblock.BoundUnacked(l.reader.Conn, unackedWait)
	}
}

func (l *streamLine) hijacked() bool { return l.handler == nil }

// attend reads what should never come, to see when the client goes, and closes
// the connection.
func (l *streamLine) attend() {
	defer l.release()
	if l.reader.wind() {
		l.reader.drain(maxUnasked)
	}
	l.conn.Abort(transport.Vanished)
}

// maxUnasked is how much a client may send behind the request of its stream.
// Nothing is asked of it there.
const maxUnasked = 64 << 10 // bytes

func (l *streamLine) release() {
	if l.hijacked() {
		l.reader.close()
	}
}

// stay keeps the handler of a stream that could not be hijacked.
func (l *streamLine) stay(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	ended := ctx.Done()
	for {
		select {
		case <-l.handler.stop:
			l.handler.leave()
			return
		case <-ended:
			switch {
			case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
				ended = nil // a Timeout middleware; the client is still there
			case l.handler.late():
				l.conn.Abort(transport.Slow) // it was our deadline that ended an HTTP/2 stream
			default:
				l.conn.Abort(transport.Vanished)
			}
		case <-timer.C:
			wait, alive := l.conn.Watch(l.reader.timing.Heartbeat, l.reader.timing.Silence, nil, l.reader.timing.Early)
			if !alive {
				l.conn.Abort(transport.Vanished)
			}
			timer.Reset(wait)
		}
	}
}

// Transport implements clientsocket.Line.
func (l *streamLine) Transport() stats.Transport { return stats.SSE }

// Encode implements clientsocket.Line.
func (l *streamLine) Encode(b []byte, it queue.Item, number uint64) (_ []byte, ends bool) {
	switch {
	case l.bare != nil:
		b = l.bare.appendID(b, it.M)
		if it.M.Event == wire.EventPosition {
			return append(b, '\n'), false // an id alone is kept by its reader, and is no event
		}
	case it.M.Counted():
		b = append(b, "id: "...)
		b = strconv.AppendUint(b, number, 10)
		b = append(b, '\n')
	}
	return it.M.AppendEvent(b), false
}

// Farewell implements clientsocket.Line. A stream has no close frame, so each of its ends
// is said in an event.
func (l *streamLine) Farewell(b []byte, code wire.CloseCode, reason string, _ bool) []byte {
	if l.bare != nil && code == wire.CloseDrain {
		b = append(b, "retry: "...)
		b = strconv.AppendInt(b, comeBack().Milliseconds(), 10)
		b = append(b, '\n')
	}
	return wire.NewClosed(code, reason).AppendEvent(b)
}

// A chunk's size is written after what it holds is known, so it gets a fixed
// width; leading zeros are allowed (RFC 9112, section 7.1).
const chunkHead = "00000000\r\n"

// Open implements clientsocket.Line.
func (l *streamLine) Open(b []byte) []byte {
	if l.chunked {
		return append(b, chunkHead...)
	}
	return b
}

// Seal implements clientsocket.Line. A write holds one chunk, which Open began.
func (l *streamLine) Seal(b []byte, last bool) []byte {
	if !l.chunked {
		return b
	}
	const hex = "0123456789abcdef"
	for i, n := 7, len(b)-len(chunkHead); n > 0; i, n = i-1, n>>4 {
		b[i] = hex[n&0xf]
	}
	b = append(b, "\r\n"...)
	if last {
		b = append(b, "0\r\n\r\n"...)
	}
	return b
}

// Try implements clientsocket.Line.
func (l *streamLine) Try(w *nonblock.Writer, b []byte) (int, error) {
	return w.Write(l.reader.ahead.Socket(), b) // which there is not where the handler stays
}

// Write implements clientsocket.Line.
func (l *streamLine) Write(b []byte) error {
	if l.hijacked() {
		return l.writes.write(l.reader.Conn, b, l.stuckFor)
	}
	return l.handler.write(b, &l.writes, l.stuckFor)
}

// BoundWrites implements clientsocket.Line.
func (l *streamLine) BoundWrites(wait time.Duration) {
	until := l.writes.set(wait)
	if l.hijacked() {
		_ = l.reader.SetWriteDeadline(until)
		return
	}
	l.handler.bound(until)
}

// Close implements clientsocket.Line.
func (l *streamLine) Close() {
	if l.hijacked() {
		l.reader.cut(answerWait)
		return
	}
	l.handler.end(answerWait)
}

// Abort implements clientsocket.Line.
func (l *streamLine) Abort() {
	if l.hijacked() {
		l.reader.cut(0)
		return
	}
	l.handler.end(0)
}
