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
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/dialect"
	"github.com/go-chime/chime/internal/nonblock"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// webSocketLine is a WebSocket. coder/websocket does the handshake, the
// reading and the answers to control frames; data frames are encoded once for
// all who get them and written to the connection by us.
type webSocketLine struct {
	conn    clientsocket.Connection
	server  *Server
	dialect *dialect.Dialect
	reader  reader
	ws      *websocket.Conn
	in      *bufio.Reader  // of ws
	early   []byte         // what net/http had read beyond the handshake
	peer    wire.CloseCode // what coder/websocket wanted to close with
	cut     bool           // reading the connection has failed: any other error is one of framing
	warned  bool           // the log says that a message has no form in the dialect; used by Encode
	writes  writeBound
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
	if headIsBuffered(innermost(h.ResponseWriter)) && !wraps[http.Hijacker](h.ResponseWriter) {
		h.l.server.obstacles.refuseBuffered(h.ResponseWriter, "WebSockets")
		return nil, nil, errBuffered
	}
	nc, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n)
		h.l.early = bytes.Clone(early)
	}
	_ = nc.SetDeadline(time.Time{}) // of http.Server
	h.l.reader.attach(nc)
	conn := controlConn{&h.l.reader, h.l}
	size := readBuffer
	if h.l.reader.ahead.Possible() {
		size = noReadBuffer
	}
	h.l.in = bufio.NewReaderSize(conn, size)
	return conn, bufio.NewReadWriter(h.l.in, bufio.NewWriterSize(conn, writeBuffer)), nil
}

// controlConn is the connection as coder/websocket sees it. What it writes are
// control frames: they join the queue, so that they can't split a data frame.
type controlConn struct {
	*reader
	l *webSocketLine
}

func (cc controlConn) Read(p []byte) (int, error) {
	if len(cc.l.early) > 0 {
		n := copy(p, cc.l.early)
		cc.l.early = cc.l.early[n:]
		return n, nil
	}
	n, err := cc.reader.Read(p)
	if err == nil {
		cc.l.conn.Heard()
	} else {
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
	cc.l.conn.SendBytes(p)
	cc.l.conn.Spend(len(p)) // a pong: its ping has as many
	return len(p), nil
}

// Close leaves the connection open: read closes it when the last frame is out.
func (cc controlConn) Close() error { return nil }

var messageBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// read takes frames until the connection ends, and closes it. Where it can, it
// leaves the waiting to a goroutine of its own: decoding and handling a frame
// takes more stack than waiting does, and a stack that has grown stays so.
func (l *webSocketLine) read() {
	if !l.reader.wind() {
		l.conn.Abort(transport.Vanished)
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
		if l.reader.ahead.Possible() && !l.reader.ahead.Buffered() && l.in.Buffered() == 0 && len(l.early) == 0 {
			l.server.tasks.Go(l.await)
			return
		}
	}
}

// await waits for the next frame, on a small stack.
func (l *webSocketLine) await() {
	if err := l.reader.await(); err != nil {
		l.cut = true
		l.failed(err)
		l.release()
		return
	}
	l.server.tasks.Go(l.read)
}

// release closes the connection, and drops what only its reading has needed: a
// client that goes on elsewhere may share its memory with this line.
func (l *webSocketLine) release() {
	l.reader.close()
	// A websocket.Conn has a finalizer and a way back to itself, so the collector
	// keeps what is not closed for ever.
	_ = l.ws.CloseNow()
	l.ws, l.in, l.early = nil, nil, nil
}

// take reads one message into a borrowed buffer and hands the frame on. An
// undecodable one closes the connection; the error is one of reading.
func (l *webSocketLine) take(kind websocket.MessageType, r io.Reader) error {
	buf := messageBuffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= 64<<10 {
			buf.Reset()
			messageBuffers.Put(buf)
		}
	}()
	if err := l.reader.message(func() error { _, err := buf.ReadFrom(r); return err }); err != nil {
		return err
	}
	f, err := l.dialect.Decode(kind == websocket.MessageBinary, buf.Bytes())
	switch {
	case err == nil:
		l.conn.Receive(f, buf.Len())
	case l.dialect.Lenient:
		l.conn.Spend(buf.Len())
		l.server.log.Debug("frame ignored", "dialect", l.dialect.Name, "client", l.conn.ID(), "error", err)
	default:
		l.conn.Close(wire.CloseUndecodable, err.Error())
	}
	return nil
}

// failed closes the connection after an error of reading, or aborts it.
func (l *webSocketLine) failed(err error) {
	n := &l.conn
	switch {
	case websocket.CloseStatus(err) != -1:
		if n.Over() {
			return // this was its answer to our close
		}
		n.PeerClosed(wire.CloseCode(websocket.CloseStatus(err)))
	case errors.Is(err, websocket.ErrMessageTooBig):
		n.Close(wire.CloseTooLarge, "message too large")
	case l.peer != 0:
		n.Close(l.peer, "")
	case !l.cut: // coder/websocket says nothing to a client that does not mask
		n.Close(wire.CloseProtocol, "")
	default:
		n.Abort(transport.Vanished)
		return
	}
	// Read on until the farewell is out and the client has closed, or it takes
	// too long: closing with unread data would reset the connection, and the
	// client would never see why.
	l.reader.drain(0)
	n.Abort(transport.Vanished) // does nothing if all went well
}

// Transport implements clientsocket.Line.
func (l *webSocketLine) Transport() stats.Transport { return stats.WebSocket }

// Encode implements clientsocket.Line.
func (l *webSocketLine) Encode(b []byte, it queue.Item, _ uint64) (_ []byte, ends bool) {
	n := len(b)
	b, ends = l.dialect.Encode(b, it.M, it.To)
	if len(b) == n && it.M.Binary() && it.M.Event != wire.EventReply && !l.warned {
		l.warned = true
		topic, event := it.M.Topic, it.M.Event
		l.server.tasks.Go(func() { // not under the client socket's lock
			l.server.log.Warn("binary message can't be delivered", "dialect", l.dialect.Name, "topic", topic, "event", event, "client", l.conn.ID())
		})
	}
	return b, ends
}

// Farewell implements clientsocket.Line. A close frame may be of any box in between, so in
// the chime dialect the end of a client socket is said in a frame before it.
func (l *webSocketLine) Farewell(b []byte, code wire.CloseCode, reason string, ended bool) []byte {
	if ended && l.dialect == &dialect.Chime {
		b, _ = l.dialect.Encode(b, wire.NewClosed(code, reason), "")
	}
	return wire.AppendClose(b, code, reason)
}

// Open implements clientsocket.Line.
func (l *webSocketLine) Open(b []byte) []byte { return b }

// Seal implements clientsocket.Line.
func (l *webSocketLine) Seal(b []byte, _ bool) []byte { return b }

// Try implements clientsocket.Line.
func (l *webSocketLine) Try(w *nonblock.Writer, b []byte) (int, error) {
	return w.Write(l.reader.ahead.Socket(), b)
}

// Write implements clientsocket.Line.
func (l *webSocketLine) Write(b []byte) error {
	return l.writes.write(l.reader.Conn, b, l.server.limits.StuckFor)
}

// BoundWrites implements clientsocket.Line.
func (l *webSocketLine) BoundWrites(wait time.Duration) {
	_ = l.reader.SetWriteDeadline(l.writes.set(wait))
}

// Close implements clientsocket.Line.
func (l *webSocketLine) Close() { l.reader.cut(answerWait) }

// Abort implements clientsocket.Line.
func (l *webSocketLine) Abort() { l.reader.cut(0) }
