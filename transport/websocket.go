package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime/internal/wire"
)

// Subprotocols that clients offer.
const (
	protocolChime   = "chime.v1"
	protocolPhoenix = "phoenix"
	protocolToken   = "base64url.bearer.phx." // what follows is a token; never echoed, never logged
	protocolSecret  = "chime.secret."         // what follows is a secret; the same
)

// ServeWebSocket answers GET {mount}/websocket. A client that offers chime.v1
// speaks the chime dialect; for all others the vsn parameter decides.
func (s *Server) ServeWebSocket(w http.ResponseWriter, r *http.Request) {
	if !s.fromHere(w, r) {
		return
	}
	if !isUpgrade(r) {
		refuse(w, http.StatusBadRequest, "this is a WebSocket endpoint: upgrade the request, or use the event stream at sse")
		return
	}
	chime, echo, reason := dialect(r)
	if reason != "" {
		refuse(w, http.StatusForbidden, reason)
		return
	}
	if s.isDraining() {
		busy(w, http.StatusServiceUnavailable, "shutting down")
		return
	}
	id, ok := s.identify(w, r)
	if !ok {
		return
	}
	if blocker := cannotHijack(w); blocker != "" {
		s.log.Warn("websocket impossible: a ResponseWriter has neither Hijack nor Unwrap", "type", blocker)
		refuse(w, http.StatusInternalServerError, "WebSockets are not possible here: "+blocker+" can't hijack")
		return
	}
	l := &webSocketLine{}
	c := &l.client
	s.initClient(c, r, id, chime, l)
	l.clock.c = c
	if chime {
		l.clock.heartbeat, l.clock.silence = defaultHeartbeat, 2*defaultHeartbeat+silenceSlack
	} else {
		l.clock.silence = phoenixSilence
	}
	ws, err := websocket.Accept(&hijacking{w, l}, r, &websocket.AcceptOptions{
		Subprotocols:       echo,
		InsecureSkipVerify: true, // the origin is checked above, by our own rule
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		s.log.Debug("websocket handshake failed", "error", err)
		return
	}
	ws.SetReadLimit(int64(s.limits.MessageBytes))
	if err := s.register(c); err != nil {
		_ = l.write(wire.AppendClose(nil, wire.CloseDrain, "drain"))
		l.clock.close()
		return
	}
	// The handler returns: its goroutine, with net/http's stack and the request,
	// costs more than twice what a client needs.
	l.ws = ws
	s.tasks.Go(l.read)
}

func isUpgrade(r *http.Request) bool {
	return headerHas(r.Header, "Connection", "upgrade") && headerHas(r.Header, "Upgrade", "websocket")
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

// dialect finds out what a WebSocket client speaks, and which subprotocol to
// echo. A reason says why it can't be served.
func dialect(r *http.Request) (chime bool, echo []string, reason string) {
	offered, phoenix := false, false
	for _, value := range r.Header.Values("Sec-WebSocket-Protocol") {
		for part := range strings.SplitSeq(value, ",") {
			switch part = strings.TrimSpace(part); {
			case part == protocolChime:
				return true, []string{protocolChime}, ""
			case part == protocolPhoenix:
				phoenix = true
			case strings.HasPrefix(part, protocolToken), strings.HasPrefix(part, protocolSecret):
			default:
				offered = true
			}
		}
	}
	switch vsn := r.URL.Query().Get("vsn"); {
	case phoenix && !strings.HasPrefix(vsn, "2.0."), !strings.HasPrefix(vsn, "2.0."):
		return false, nil, "this vsn is not spoken here: want 2.0.0, or the subprotocol chime.v1"
	case phoenix:
		return false, []string{protocolPhoenix}, ""
	case offered:
		return false, nil, "none of these subprotocols is spoken here: want chime.v1 or phoenix"
	}
	return false, nil, ""
}

// webSocketLine is a WebSocket. coder/websocket does the handshake, the
// reading and the answers to control frames; data frames are encoded once for
// all who get them and written to the connection by us.
type webSocketLine struct {
	client  client
	clock   clock
	ws      *websocket.Conn
	in      *bufio.Reader // of ws
	raw     syscall.RawConn
	early   []byte         // what net/http had read beyond the handshake
	peer    wire.CloseCode // what coder/websocket wanted to close with
	cut     bool           // reading the connection has failed: any other error is one of framing
	hurried atomic.Bool
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
	h.l.raw = rawConn(nc)
	h.l.clock.attach(nc, h.l.raw)
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
	return n, err
}

// Write takes a whole control frame. Close frames are not passed on: the end
// of a client socket is said once, after what is queued.
func (cc controlConn) Write(p []byte) (int, error) {
	const opcode, opClose = 0x0f, 0x8
	if len(p) > 0 && p[0]&opcode == opClose {
		cc.l.peer = wire.CloseNoStatus
		if len(p) >= 4 {
			cc.l.peer = wire.CloseCode(binary.BigEndian.Uint16(p[2:]))
		}
		return len(p), nil
	}
	cc.c.sendControl(p)
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
		l.clock.c.broken(Gone)
		l.clock.close()
		return
	}
	for {
		kind, r, err := l.ws.Reader(context.Background())
		if err == nil {
			err = l.take(kind, r)
		}
		if err != nil {
			l.failed(err)
			l.clock.close()
			return
		}
		if l.clock.ahead.possible() && !l.clock.ahead.held() && l.in.Buffered() == 0 && len(l.early) == 0 {
			l.clock.c.server.tasks.Go(l.await)
			return
		}
	}
}

// await waits for the next frame, on a small stack.
func (l *webSocketLine) await() {
	if err := l.clock.await(); err != nil {
		l.cut = true
		l.failed(err)
		l.clock.close()
		return
	}
	l.clock.c.server.tasks.Go(l.read)
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
	decode := wire.Decode
	if kind == websocket.MessageBinary {
		decode = wire.DecodeBinary
	}
	f, err := decode(buf.Bytes())
	if err != nil {
		l.clock.c.Close(wire.CloseUndecodable, err.Error(), Closed)
		return nil
	}
	l.clock.c.receive(f)
	return nil
}

// failed ends the client after an error of reading.
func (l *webSocketLine) failed(err error) {
	c := l.clock.c
	switch {
	case websocket.CloseStatus(err) != -1:
		c.mu.Lock()
		c.end.echo = true
		c.queue.clear() // it reads no more
		over := c.end.over
		c.mu.Unlock()
		if over {
			return // this was its answer to our close
		}
		c.Close(wire.CloseCode(websocket.CloseStatus(err)), "", Closed)
	case errors.Is(err, websocket.ErrMessageTooBig):
		c.Close(wire.CloseTooLarge, "message too large", Closed)
	case l.peer != 0:
		c.Close(l.peer, "", Closed)
	case !l.cut: // coder/websocket says nothing to a client that does not mask
		c.Close(wire.CloseProtocol, "", Closed)
	default:
		c.broken(Gone)
		return
	}
	// Read on until the farewell is out and the client has closed, or it takes
	// too long: closing with unread data would reset the connection, and the
	// client would never see why.
	l.clock.drain()
	c.broken(Gone) // does nothing if all went well
}

func (l *webSocketLine) transport() string { return WebSocket }

func (l *webSocketLine) encode(b []byte, c *client, it item) []byte {
	return it.m.AppendWebSocket(b, c.chime, it.to)
}

func (l *webSocketLine) farewell(b []byte, code wire.CloseCode, reason string) []byte {
	return wire.AppendClose(b, code, reason)
}

func (l *webSocketLine) open(b []byte) []byte         { return b }
func (l *webSocketLine) seal(b []byte, _ bool) []byte { return b }

func (l *webSocketLine) try(w *nonblocking, b []byte) (int, error) { return w.try(l.raw, b) }

func (l *webSocketLine) write(b []byte) error {
	return writeBounded(l.clock.Conn, b, &l.hurried)
}

func (l *webSocketLine) hurry() { hurry(l.clock.Conn, &l.hurried) }

func (l *webSocketLine) hangUp(politely bool) { l.clock.hangUp(politely) }

// SubprotocolToken returns the token that a browser's WebSocket offers as a
// subprotocol, where it can set no header. Phoenix clients write it in the
// standard alphabet of base64 without padding, ours in the URL's; both are read.
func SubprotocolToken(r *http.Request) string {
	for _, value := range r.Header.Values("Sec-WebSocket-Protocol") {
		for part := range strings.SplitSeq(value, ",") {
			text, ok := strings.CutPrefix(strings.TrimSpace(part), protocolToken)
			if !ok {
				continue
			}
			text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
			if token, err := base64.RawURLEncoding.DecodeString(text); err == nil {
				return string(token)
			}
		}
	}
	return ""
}
