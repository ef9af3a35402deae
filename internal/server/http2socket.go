package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// IsConnect reports whether r asks for a WebSocket on a stream of HTTP/2 (RFC 8441,
// section 4). Net/http lets such a request through only if it is told to, with
// GODEBUG=http2xconnect=1.
func IsConnect(r *http.Request) bool {
	return r.Method == http.MethodConnect && r.Header.Get(":protocol") == "websocket"
}

// http2Socket makes a stream of HTTP/2 the connection of a WebSocket. The handler
// stays, and carries what is written to near; what the client sends is read from it.
type http2Socket struct {
	http.ResponseWriter
	rc        *http.ResponseController
	near, far net.Conn

	mu       sync.Mutex // guards returned
	returned bool       // the handler has: its writer must not be touched any more
}

// overHTTP2 returns what a handshake of HTTP/1.1 needs in place of w and r: there is
// no key and no upgrade on HTTP/2.
func overHTTP2(w http.ResponseWriter, r *http.Request) (*http2Socket, *http.Request) {
	h := &http2Socket{ResponseWriter: w, rc: http.NewResponseController(w)}
	h.near, h.far = net.Pipe()
	upgrade := *r
	upgrade.Method = http.MethodGet
	upgrade.Header = r.Header.Clone()
	upgrade.Header.Set("Connection", "Upgrade")
	upgrade.Header.Set("Upgrade", "websocket")
	upgrade.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	return h, &upgrade
}

// WriteHeader implements http.ResponseWriter: 200 is what 101 is on HTTP/1.1.
func (h *http2Socket) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Accept"} {
			h.Header().Del(name)
		}
		status = http.StatusOK
	}
	h.ResponseWriter.WriteHeader(status)
}

// Hijack implements http.Hijacker.
func (h *http2Socket) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	_ = h.rc.SetReadDeadline(time.Time{}) // of http.Server
	_ = h.rc.SetWriteDeadline(time.Time{})
	if err := h.rc.Flush(); err != nil {
		return nil, nil, err
	}
	conn := http2Conn{h.near, h}
	return conn, bufio.NewReadWriter(bufio.NewReaderSize(conn, noReadBuffer), bufio.NewWriterSize(conn, noReadBuffer)), nil
}

// receive carries what the client sends, until it sends no more.
func (h *http2Socket) receive(body io.Reader) {
	_, _ = io.Copy(h.far, body)
	_ = h.far.Close()
}

// carry is the handler: it writes what is written to near, until that is closed.
func (h *http2Socket) carry() {
	buf := make([]byte, 4<<10)
	for {
		n, err := h.far.Read(buf)
		if err == nil {
			_, err = h.Write(buf[:n])
		}
		if err == nil {
			err = h.rc.Flush()
		}
		if err != nil {
			break
		}
	}
	_ = h.far.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.returned = true
}

// http2Conn is near, whose end bounds what the handler still has to write.
type http2Conn struct {
	net.Conn
	h *http2Socket
}

// Close implements net.Conn.
func (c http2Conn) Close() error {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if !c.h.returned {
		_ = c.h.rc.SetWriteDeadline(time.Now().Add(answerWait))
	}
	return c.Conn.Close()
}
