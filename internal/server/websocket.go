package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// ServeWebSocket answers GET {mount}/websocket. A client that offers chime.v1
// speaks the chime dialect; for all others the vsn parameter decides.
func (s *Server) ServeWebSocket(w http.ResponseWriter, r *http.Request) {
	if !s.fromHere(w, r) {
		return
	}
	if !IsUpgrade(r) {
		refuse(w, http.StatusBadRequest, "this is a WebSocket endpoint: upgrade the request, or use the event stream at sse")
		return
	}
	if offersTooMuch(r) {
		refuse(w, http.StatusBadRequest, "the subprotocols are over "+strconv.Itoa(maxProtocols)+" bytes")
		return
	}
	d, reason := dialectOf(r)
	if reason != "" {
		s.log.Debug("websocket refused", "reason", reason)
		refuse(w, http.StatusForbidden, reason)
		return
	}
	s.upgrade(w, r, d)
}

// ServeAmber answers GET {mount} with an upgrade: a client of Amber.
func (s *Server) ServeAmber(w http.ResponseWriter, r *http.Request) {
	if s.fromHere(w, r) {
		s.upgrade(w, r, &amber)
	}
}

// IsUpgrade reports whether r asks for a WebSocket.
func IsUpgrade(r *http.Request) bool {
	return headerHas(r.Header, "Connection", "upgrade") && headerHas(r.Header, "Upgrade", "websocket")
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, d *dialect) {
	if r.ContentLength != 0 {
		// Before it hands the connection over, net/http would wait for the body;
		// and before it answers too, unless this is the last request.
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusBadRequest, "an upgrade has no body")
		return
	}
	if s.isDraining() {
		busy(w, http.StatusServiceUnavailable, errDraining.Error())
		return
	}
	secret := ""
	if d == &chimeV1 {
		secret = subprotocolSecret(r)
	}
	id, refused := s.identify(r, secret)
	if refused != nil {
		turnAway(w, refused)
		return
	}
	from := caller{id, d == &chimeV1, secret, s.find(secret)}
	if !owns(w, id, from.former) {
		return
	}
	if blocker := cannotHijack(w); blocker != "" {
		s.log.Warn("websocket impossible: a ResponseWriter has neither Hijack nor Unwrap", "type", blocker)
		refuse(w, http.StatusInternalServerError, "WebSockets are not possible here: "+blocker+" can't hijack")
		return
	}
	s.tasks.Do(func() { s.openWebSocket(w, r, d, from) })
}

// openWebSocket is among the tasks that Shutdown waits for: it may find the
// server open, and start what reads after that.
func (s *Server) openWebSocket(w http.ResponseWriter, r *http.Request, d *dialect, from caller) {
	l, fresh := together[webSocketLine](from)
	l.dialect, l.line = d, l
	l.clock.conn, l.clock.timing = &l.connection, &d.timing
	ws, err := websocket.Accept(&hijacking{w, l}, r, &websocket.AcceptOptions{
		Subprotocols:       d.echo(r),
		InsecureSkipVerify: true, // the origin is checked above, by our own rule
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		s.log.Debug("websocket handshake failed", "error", err)
		return
	}
	ws.SetReadLimit(int64(s.limits.MessageBytes))
	if err := s.enter(&l.connection, fresh, r, from); err != nil {
		_ = l.write(wire.AppendClose(nil, wire.CloseDrain, "drain"))
		l.ws = ws
		l.release()
		return
	}
	// The handler returns: its goroutine, with net/http's stack and the request,
	// costs more than twice what a client needs.
	l.ws = ws
	s.tasks.Go(l.read)
}

func headerHas(h http.Header, key, token string) bool {
	for _, value := range h.Values(key) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// webSocketLine is a WebSocket. coder/websocket does the handshake, the
// reading and the answers to control frames; data frames are encoded once for
// all who get them and written to the connection by us.
type webSocketLine struct {
	connection
	dialect *dialect
	clock   clock
	ws      *websocket.Conn
	in      *bufio.Reader  // of ws
	early   []byte         // what net/http had read beyond the handshake
	peer    wire.CloseCode // what coder/websocket wanted to close with
	cut     bool           // reading the connection has failed: any other error is one of framing
	writes  patience
	told    bool // guarded by client.mu: the log, of a message that the dialect has no form for
}

// hijacking hands coder/websocket the connection with small buffers in place
// of net/http's two of 4 KiB.
type hijacking struct {
	http.ResponseWriter
	l *webSocketLine
}

const (
	readBuffer   = 512
	noReadBuffer = 16  // the least bufio has; what is ahead of it is borrowed
	writeBuffer  = 136 // one control frame, so that it arrives in a single Write
)

func (h *hijacking) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n)
		h.l.early = bytes.Clone(early)
	}
	_ = nc.SetDeadline(time.Time{}) // of http.Server
	h.l.clock.attach(nc)
	conn := controlConn{&h.l.clock, h.l}
	size := readBuffer
	if h.l.clock.ahead.possible() {
		size = noReadBuffer
	}
	h.l.in = bufio.NewReaderSize(conn, size)
	return conn, bufio.NewReadWriter(h.l.in, bufio.NewWriterSize(conn, writeBuffer)), nil
}

// controlConn is the connection as coder/websocket sees it. What it writes are
// control frames: they join the queue, so that they can't split a data frame.
type controlConn struct {
	*clock
	l *webSocketLine
}

func (cc controlConn) Read(p []byte) (int, error) {
	if len(cc.l.early) > 0 {
		n := copy(p, cc.l.early)
		cc.l.early = cc.l.early[n:]
		return n, nil
	}
	n, err := cc.clock.Read(p)
	if err != nil {
		cc.l.cut = true
	}
	if errors.Is(err, io.EOF) {
		// Within a message coder/websocket takes it for the end of that.
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Write takes a whole control frame. Close frames are not passed on: the end
// of a connection is said once, after what is queued.
func (cc controlConn) Write(p []byte) (int, error) {
	const opcode, opClose = 0x0f, 0x8
	if len(p) > 0 && p[0]&opcode == opClose {
		cc.l.peer = wire.CloseNoStatus
		if len(p) >= 4 {
			cc.l.peer = wire.CloseCode(binary.BigEndian.Uint16(p[2:]))
		}
		return len(p), nil
	}
	n := &cc.l.connection
	n.c.mu.Lock()
	n.sendBytes(p)
	n.c.mu.Unlock()
	return len(p), nil
}

// Close leaves the connection open: read closes it when the last frame is out.
func (cc controlConn) Close() error { return nil }

var messageBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// read takes frames until the connection ends, and closes it. Where it can, it
// leaves the waiting to a goroutine of its own: decoding and handling a frame
// takes more stack than waiting does, and a stack that has grown stays so.
func (l *webSocketLine) read() {
	if !l.clock.wind() {
		l.broken(transport.Gone)
		l.release()
		return
	}
	for {
		kind, r, err := l.ws.Reader(context.Background())
		if err == nil {
			err = l.take(kind, r)
		}
		if err != nil {
			l.failed(err)
			l.release()
			return
		}
		if l.clock.ahead.possible() && !l.clock.ahead.held() && l.in.Buffered() == 0 && len(l.early) == 0 {
			l.c.server.tasks.Go(l.await)
			return
		}
	}
}

// await waits for the next frame, on a small stack.
func (l *webSocketLine) await() {
	if err := l.clock.await(); err != nil {
		l.cut = true
		l.failed(err)
		l.release()
		return
	}
	l.c.server.tasks.Go(l.read)
}

// release closes the connection, and drops what only its reading has needed: a
// client that goes on elsewhere may share its memory with this line.
func (l *webSocketLine) release() {
	l.clock.close()
	// A websocket.Conn has a finalizer and a way back to itself, so the collector
	// keeps what is not closed for ever.
	_ = l.ws.CloseNow()
	l.ws, l.in, l.early = nil, nil, nil
}

// take reads one message into a borrowed buffer and hands the frame on. An
// undecodable one ends the connection, politely; the error is one of reading.
func (l *webSocketLine) take(kind websocket.MessageType, r io.Reader) error {
	buf := messageBuffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= 64<<10 {
			buf.Reset()
			messageBuffers.Put(buf)
		}
	}()
	if _, err := buf.ReadFrom(r); err != nil {
		return err
	}
	f, err := l.dialect.decode(kind, buf.Bytes())
	switch {
	case err == nil:
		l.receive(f)
	case l.dialect.lenient:
		l.c.server.log.Debug("frame ignored", "dialect", l.dialect.name, "client", l.c.id, "error", err)
	default:
		l.connection.close(wire.CloseUndecodable, err.Error())
	}
	return nil
}

// failed ends the connection after an error of reading.
func (l *webSocketLine) failed(err error) {
	n := &l.connection
	switch {
	case websocket.CloseStatus(err) != -1:
		n.c.mu.Lock()
		over := n.over
		n.c.mu.Unlock()
		if over {
			return // this was its answer to our close
		}
		n.peerClosed(wire.CloseCode(websocket.CloseStatus(err)))
	case errors.Is(err, websocket.ErrMessageTooBig):
		n.close(wire.CloseTooLarge, "message too large")
	case l.peer != 0:
		n.close(l.peer, "")
	case !l.cut: // coder/websocket says nothing to a client that does not mask
		n.close(wire.CloseProtocol, "")
	default:
		n.broken(transport.Gone)
		return
	}
	// Read on until the farewell is out and the client has closed, or it takes
	// too long: closing with unread data would reset the connection, and the
	// client would never see why.
	l.clock.drain(0)
	n.broken(transport.Gone) // does nothing if all went well
}

func (l *webSocketLine) transport() string { return transport.WebSocket }

func (l *webSocketLine) encode(b []byte, c *client, it item, _ uint64) []byte {
	if l.dialect.endsWith != "" && it.m.Event == l.dialect.endsWith && !c.ended {
		c.end(wire.CloseDisconnect, "", transport.Gone)
		c.server.tasks.Go(c.tellEnd)
	}
	n := len(b)
	b = l.dialect.encode(b, it.m, it.to)
	if len(b) == n && it.m.Binary() && it.m.Event != wire.EventReply && !l.told {
		l.told = true
		topic, event := it.m.Topic, it.m.Event
		c.server.tasks.Go(func() { // not under the client's lock
			c.server.log.Warn("binary message can't be delivered", "dialect", l.dialect.name, "topic", topic, "event", event, "client", c.id)
		})
	}
	return b
}

func (l *webSocketLine) farewell(b []byte, code wire.CloseCode, reason string) []byte {
	return wire.AppendClose(b, code, reason)
}

func (l *webSocketLine) open(b []byte) []byte         { return b }
func (l *webSocketLine) seal(b []byte, _ bool) []byte { return b }

func (l *webSocketLine) try(w *nonblocking, b []byte) (int, error) {
	return w.try(l.clock.ahead.socket(), b)
}

func (l *webSocketLine) write(b []byte) error {
	return writeBounded(l.clock.Conn, b, &l.writes)
}

func (l *webSocketLine) hurry(wait time.Duration) {
	_ = l.clock.SetWriteDeadline(l.writes.end(wait))
}

func (l *webSocketLine) hangUp(politely bool) { l.clock.hangUp(politely) }
