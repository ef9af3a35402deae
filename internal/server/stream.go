package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// Headers of the chime dialect on the stream and its POSTs.
const (
	headerSecret   = "Chime-Secret"
	headerReceived = "Chime-Received"
)

// ServeStream answers GET {mount}/sse with an event stream. A request with
// chime headers opens a client socket whose other half are POSTs; one without
// opens a receive-only stream of the topics it names.
func (s *Server) ServeStream(w http.ResponseWriter, r *http.Request) {
	if !s.fromHere(w, r) {
		return
	}
	chime := r.Header.Get(headerReceived) != "" || r.Header.Get(headerSecret) != ""
	switch r.Header.Get("Sec-Fetch-Mode") {
	case "navigate", "no-cors":
		refuse(w, http.StatusForbidden, "this is an event stream: read it with fetch or EventSource")
		return
	}
	if s.isDraining() {
		later(w, chime, errDraining.Error())
		return
	}
	secret := r.Header.Get(headerSecret)
	id, refused := s.identify(r, secret)
	switch refused {
	case nil:
	case errUnavailable:
		later(w, chime, refused.Reason)
		return
	default:
		turnAway(w, refused)
		return
	}
	from := caller{id, chime, secret, s.find(secret)}
	if !owns(w, id, from.former) {
		return
	}
	var joins []wire.Frame
	if !chime {
		var err error
		if joins, err = bareJoins(r, s.limits.MessageBytes); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	if blocker := cannotFlush(w); blocker != "" {
		s.log.Warn("event stream impossible: a ResponseWriter has neither Flush nor Unwrap", "type", blocker)
		refuse(w, http.StatusInternalServerError, "event streams are not possible here: "+blocker+" can't flush")
		return
	}
	s.tasks.Do(func() { s.openStream(w, r, from, joins) })
}

// openStream is openWebSocket for a stream; without chime headers it has joins.
// A handler that stays is waited for too.
func (s *Server) openStream(w http.ResponseWriter, r *http.Request, from caller, joins []wire.Frame) {
	l, fresh := together[streamLine](from)
	l.line = l
	if err := l.begin(w, r); err != nil {
		s.log.Debug("event stream not opened", "error", err)
		return
	}
	if !from.chime {
		l.bare = newBare(joins)
	}
	if err := s.enter(&l.connection, fresh, r, from); err != nil {
		_ = l.write(l.seal(l.farewell(l.open(nil), wire.CloseDrain, "drain"), true))
		l.release()
		return
	}
	for _, f := range joins {
		l.receive(f)
	}
	if l.hijacked() {
		s.tasks.Go(l.attend)
		return
	}
	l.stay(r.Context())
}

// later asks a client to come back. A native EventSource gives up for ever on
// anything but 200, so that is what a stream without chime headers gets.
func later(w http.ResponseWriter, chime bool, reason string) {
	if chime {
		busy(w, http.StatusServiceUnavailable, reason)
		return
	}
	streamHeaders(w.Header(), 1)
	w.WriteHeader(http.StatusOK)
	_, _ = fmt.Fprintf(w, "retry: %d\n\n", drainRetry.Milliseconds())
}

func streamHeaders(h http.Header, protoMajor int) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")      // nginx
	h.Set("Content-Encoding", "identity") // chi's Compress and its like
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Origin")
	if protoMajor == 1 {
		// What comes after the stream is not answered: once hijacked, this
		// connection can serve no second request.
		h.Set("Connection", "close")
	}
}

// streamLine is an event stream. On HTTP/1 it is taken from net/http after the
// headers and the first bytes are out, which middleware has then seen, and
// written without a goroutine; elsewhere the handler stays, and writes go
// through its ResponseWriter.
type streamLine struct {
	connection
	clock  clock
	bare   *bare // nil in the chime dialect
	writes patience

	handler *handlerWriter // nil once hijacked
}

// handlerWriter is the ResponseWriter of a handler that stays.
type handlerWriter struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	stop chan struct{} // closed to let the handler return
	cut  bool          // set before that: nothing more can be written
	due  atomic.Int64  // when the present write has to be done, Unix ns; 0 without one
	busy chan struct{} // holds a token while w is written to

	mu       sync.Mutex // guards returned
	returned bool       // the handler has: its writer must not be touched any more
}

// streamTiming asks nothing of the client, which has no way to answer on a stream.
var streamTiming = timing{heartbeat: defaultHeartbeat}

// firstBytes go out with the headers: proxies and Firefox wait for some.
const firstBytes = ": chime\n\n"

// begin sends the headers and the first bytes, and takes the connection if it can.
func (l *streamLine) begin(w http.ResponseWriter, r *http.Request) error {
	l.clock.conn = &l.connection
	l.clock.timing = &streamTiming
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeWait)) // in place of http.Server's, if it can be
	streamHeaders(w.Header(), r.ProtoMajor)
	w.WriteHeader(http.StatusOK)
	// Bytes before the first Flush: a compressing writer decides what to do
	// with a body when it sees the first of it.
	if _, err := w.Write([]byte(firstBytes)); err != nil {
		return err
	}
	if err := rc.Flush(); err != nil {
		return err
	}
	plain := w.Header().Get("Content-Encoding") == "identity"
	if r.ProtoMajor == 1 && plain {
		nc, _, err := rc.Hijack()
		if err == nil {
			_ = nc.SetDeadline(time.Time{})
			l.chunked = r.ProtoAtLeast(1, 1)
			l.clock.attach(nc)
			return nil
		}
		if !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	_ = rc.SetWriteDeadline(time.Time{})
	l.handler = &handlerWriter{w: w, rc: rc, stop: make(chan struct{}), busy: make(chan struct{}, 1)}
	return nil
}

func (l *streamLine) hijacked() bool { return l.handler == nil }

// attend reads what should never come, to see when the client goes, and closes
// the connection.
func (l *streamLine) attend() {
	defer l.release()
	if l.clock.wind() {
		l.clock.drain(maxUnasked)
	}
	l.broken(transport.Gone)
}

// maxUnasked is how much a client may send behind the request of its stream.
// Nothing is asked of it there.
const maxUnasked = 64 << 10 // bytes

func (l *streamLine) release() {
	if l.hijacked() {
		l.clock.close()
	}
}

// stay keeps the handler of a stream that could not be hijacked.
func (l *streamLine) stay(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	gone := ctx.Done()
	for {
		select {
		case <-l.handler.stop:
			l.handler.busy <- struct{}{} // no write may be under way when the handler returns, nor begin later
			l.handler.leave()
			return
		case <-gone:
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				gone = nil // a Timeout middleware; the client is still there
				continue
			}
			if due := l.handler.due.Load(); due != 0 && time.Now().UnixNano() >= due {
				l.broken(transport.Slow) // it was our deadline that ended an HTTP/2 stream
				continue
			}
			l.broken(transport.Gone)
		case now := <-timer.C:
			next := l.watch(now, streamTiming.heartbeat)
			timer.Reset(time.Until(next))
		}
	}
}

// leave is the handler's last use of its writer. What net/http still has to
// write, the end of the response, must not wait for the client for ever.
func (h *handlerWriter) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.returned = true
	wait := hangUpWait
	if h.cut {
		wait = 0
	}
	_ = h.rc.SetWriteDeadline(time.Now().Add(wait))
}

func (l *streamLine) transport() string { return transport.SSE }

func (l *streamLine) encode(b []byte, _ *client, it item, number uint64) []byte {
	switch {
	case l.bare != nil:
		b = l.bare.appendID(b, it.m)
	case it.m.Counted():
		b = append(b, "id: "...)
		b = strconv.AppendUint(b, number, 10)
		b = append(b, '\n')
	}
	return it.m.AppendEvent(b)
}

func (l *streamLine) farewell(b []byte, code wire.CloseCode, reason string) []byte {
	if l.bare != nil && code == wire.CloseDrain {
		b = append(b, "retry: "...)
		b = strconv.AppendInt(b, drainRetry.Milliseconds(), 10)
		b = append(b, '\n')
	}
	return wire.NewClosed(code, reason).AppendEvent(b)
}

// A chunk's size is written after what it holds is known, so it gets a fixed
// width; leading zeros are allowed (RFC 9112, section 7.1).
const chunkHead = "00000000\r\n"

func (l *streamLine) open(b []byte) []byte {
	if l.chunked {
		return append(b, chunkHead...)
	}
	return b
}

// seal takes b as begun by open: a write holds one chunk.
func (l *streamLine) seal(b []byte, last bool) []byte {
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

func (l *streamLine) try(w *nonblocking, b []byte) (int, error) {
	if !l.hijacked() {
		return 0, nil
	}
	return w.try(l.clock.ahead.socket(), b)
}

func (l *streamLine) write(b []byte) error {
	if l.hijacked() {
		return writeBounded(l.clock.Conn, b, &l.writes)
	}
	select {
	case l.handler.busy <- struct{}{}:
	case <-l.handler.stop:
		return net.ErrClosed
	}
	defer func() { <-l.handler.busy }()
	due := l.writes.arm(l.handler.rc.SetWriteDeadline)
	l.handler.due.Store(due.UnixNano())
	_, err := l.handler.w.Write(b)
	if err == nil {
		err = l.handler.rc.Flush()
	}
	if err != nil {
		if !time.Now().Before(due) { // HTTP/2 says no more than that the stream is closed
			err = fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
		}
		return err // due stays: the handler may be about to ask why its client is gone
	}
	l.handler.due.Store(0)
	if l.writes.until.Load() == 0 {
		// HTTP/2 resets a stream when its deadline passes, even if nothing is
		// being written then.
		_ = l.handler.rc.SetWriteDeadline(time.Time{})
	}
	return nil
}

func (l *streamLine) hurry(wait time.Duration) {
	end := l.writes.end(wait)
	if l.hijacked() {
		_ = l.clock.SetWriteDeadline(end)
		return
	}
	l.handler.mu.Lock()
	defer l.handler.mu.Unlock()
	if !l.handler.returned {
		_ = l.handler.rc.SetWriteDeadline(end)
	}
}

func (l *streamLine) hangUp(politely bool) {
	if l.hijacked() {
		l.clock.hangUp(politely)
		return
	}
	if l.clock.hungUp.CompareAndSwap(0, time.Now().UnixNano()) {
		l.handler.cut = !politely
		close(l.handler.stop)
	}
}
