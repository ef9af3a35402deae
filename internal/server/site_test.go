package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// site serves a handler to clients that are written by hand: they read when
// they are told to, and never answer by themselves.
type site struct {
	address  string
	patience time.Duration // how long a client waits for each thing that must come
	dial     func(ctx context.Context) (net.Conn, error)
	trust    *tls.Config // nil without TLS
	http2    bool
	closed   chan time.Time // of pipes
}

type network struct {
	name               string
	pipes, tls, http2  bool
	http1WithoutHijack bool // a ResponseWriter of middleware that can flush, but no more
	pings              bool // of HTTP/2, as a server has to ask for
	accepted           func(*net.TCPConn)
}

// serve serves h until the end of the test.
func serve(t testing.TB, n network, h http.Handler) *site {
	t.Helper()
	s := &site{patience: 20 * time.Second, http2: n.http2}
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that were cut short
	if n.http1WithoutHijack {
		server.Config.Handler = withoutHijack(h)
	}
	if n.pipes {
		_ = server.Listener.Close()
		l := newPipes()
		server.Listener, s.dial, s.closed = l, l.dial, l.closed
		s.patience = 24 * time.Hour // of a bubble
	} else {
		server.Listener = tight{server.Listener, n.accepted}
		s.dial = dialTight(server.Listener.Addr().String())
	}
	if n.pings {
		server.Config.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
	}
	switch {
	case n.tls:
		server.EnableHTTP2 = n.http2
		server.StartTLS()
		s.trust = server.Client().Transport.(*http.Transport).TLSClientConfig
	case n.http2:
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		fallthrough
	default:
		server.Start()
	}
	s.address = "example.com" // for which the certificate of httptest is too
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

// tight is a listener whose connections have small buffers, so that a client
// that does not read is noticed before megabytes are in the kernel.
type tight struct {
	net.Listener
	accepted func(*net.TCPConn) // nil: nobody looks at them
}

const tightBuffer = 64 << 10

func (l tight) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(tightBuffer)
		if l.accepted != nil {
			l.accepted(tcp)
		}
	}
	return conn, err
}

func dialTight(address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(tightBuffer)
		}
		return conn, err
	}
}

// pipes is a network without sockets: a write takes as long as it takes the
// other side to read, and time is that of the bubble.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	done   chan struct{}
	closed chan time.Time // when the server has closed a connection
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), done: make(chan struct{}), closed: make(chan time.Time, 1000)}
}

type noting struct {
	net.Conn
	closed chan time.Time
}

func (c noting) Close() error {
	c.closed <- time.Now()
	return c.Conn.Close()
}

// CloseWrite is there for net/http, which lets a client read the answer to a
// body that was not read to its end before it closes a connection that has it.
func (noting) CloseWrite() error { return nil }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *pipes) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- noting{server, l.closed}:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// withoutHijack gives h a ResponseWriter that is wrapped for good.
func withoutHijack(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(flushing{w, http.NewResponseController(w)}, r)
	})
}

type flushing struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (w flushing) FlushError() error                   { return w.rc.Flush() }
func (w flushing) SetWriteDeadline(at time.Time) error { return w.rc.SetWriteDeadline(at) }
func (w flushing) SetReadDeadline(at time.Time) error  { return w.rc.SetReadDeadline(at) }

// patient is a connection on which nothing takes for ever. However long a test
// has been at it, each read and each write has the same time.
type patient struct {
	net.Conn
	wait time.Duration
}

func (c patient) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.wait))
	return c.Conn.Read(p)
}

func (c patient) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.wait))
	return c.Conn.Write(p)
}

// connect opens a connection for a client that speaks HTTP/1.1 by hand.
func (s *site) connect() (net.Conn, error) {
	conn, err := s.dial(context.Background())
	if err != nil {
		return nil, err
	}
	conn = patient{conn, s.patience}
	if s.trust != nil {
		trust := s.trust.Clone()
		trust.ServerName, trust.NextProtos = s.address, []string{"http/1.1"}
		conn = tls.Client(conn, trust)
	}
	return conn, nil
}

// socket is a WebSocket, RFC 6455.
type socket struct {
	net.Conn
	r    *bufio.Reader
	head *http.Response
	said *End // in a frame, before the close frame
}

const (
	fin       = 0x80
	opText    = 0x1
	opBinary  = 0x2
	opClose   = 0x8
	opPing    = 0x9
	opPong    = 0xa
	chimeV1   = "Sec-WebSocket-Protocol: chime.v1"
	phoenixV2 = "/websocket?vsn=2.0.0"
)

// upgrade asks for a WebSocket. Header is a list of "Name: value".
func (s *site) upgrade(target string, header ...string) (*socket, error) {
	conn, err := s.connect()
	if err != nil {
		return nil, err
	}
	lines := append([]string{
		"GET " + target + " HTTP/1.1", "Host: " + s.address, "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, header...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		_ = conn.Close()
		return nil, err
	}
	// Small, so that no more than a frame's header is read ahead.
	r := bufio.NewReaderSize(conn, 16)
	head, err := http.ReadResponse(r, nil)
	if err == nil && head.StatusCode != http.StatusSwitchingProtocols {
		err = refusedWith(head.Status, head)
		_ = head.Body.Close()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &socket{Conn: conn, r: r, head: head}, nil
}

// refusedError is an answer that opens nothing.
type refusedError struct {
	says  string
	after time.Duration // of its Retry-After; 0 without one
}

func (e *refusedError) Error() string { return e.says }

func refusedWith(says string, res *http.Response) error {
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	return &refusedError{says, time.Duration(seconds) * time.Second}
}

func (s *site) chime() (*socket, error)   { return s.upgrade("/websocket", chimeV1) }
func (s *site) phoenix() (*socket, error) { return s.upgrade(phoenixV2) }
func (s *site) amber() (*socket, error)   { return s.upgrade("/amber") }

// frame builds a frame as a client sends it.
func frame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...) // masked, with zeros
}

func (ws *socket) write(first byte, payload string) error {
	_, err := ws.Write(frame(first, payload))
	return err
}

// read returns the next frame from the server.
func (ws *socket) read() (opcode byte, payload string, err error) {
	var head [2]byte
	if _, err := io.ReadFull(ws.r, head[:]); err != nil {
		return 0, "", err
	}
	if head[0]&0xf0 != fin || head[1] > 127 {
		return 0, "", fmt.Errorf("a frame that begins with % x: want no fragment, reserved bit or mask", head)
	}
	size := []byte{head[1]}
	if more := map[byte]int{126: 2, 127: 8}[head[1]]; more > 0 {
		size = make([]byte, more)
		if _, err := io.ReadFull(ws.r, size); err != nil {
			return 0, "", err
		}
	}
	n := uint64(0)
	for _, b := range size {
		n = n<<8 | uint64(b)
	}
	p := make([]byte, n)
	_, err = io.ReadFull(ws.r, p)
	return head[0] & 0xf, string(p), err
}

// text returns the next text, or what a close frame says. It answers no pings.
func (ws *socket) text() (string, error) {
	for {
		opcode, payload, err := ws.read()
		switch {
		case err != nil:
			return "", err
		case opcode == opText && strings.HasPrefix(payload, closedEvent):
			end, err := endIn(payload)
			if err != nil {
				return "", err
			}
			ws.said = end
		case opcode == opText:
			return payload, nil
		case opcode == opClose:
			end := &End{Code: 1005}
			if len(payload) >= 2 {
				end = &End{Code: int(binary.BigEndian.Uint16([]byte(payload))), Reason: payload[2:]}
			}
			if ws.said != nil && *ws.said != *end {
				return "", fmt.Errorf("the frame before the close frame says %w, and that %w", ws.said, end)
			}
			return "", end
		case opcode != opPong && opcode != opPing:
			return "", fmt.Errorf("frame %#x %q, want a text", opcode, payload)
		}
	}
}

// socketPeer is the peer of a WebSocket.
type socketPeer struct{ *socket }

func (p socketPeer) Send(frames ...string) error {
	for _, f := range frames {
		if err := p.write(fin|opText, f); err != nil {
			return err
		}
	}
	return nil
}

func (p socketPeer) Next() (string, error) {
	for {
		text, err := p.text()
		if err == nil && connectionFrame(text) {
			continue
		}
		end, said := errors.AsType[*End](err)
		if !said {
			return text, err
		}
		_ = p.write(fin|opClose, "")
		if rest, err := io.ReadAll(p.r); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			return "", fmt.Errorf("after the close frame: got %q and error %w, want the end of the connection", rest, err)
		}
		return "", end
	}
}

// closedEvent begins the frame that says an end.
const closedEvent = `[null,null,"chime","closed",`

func endIn(closed string) (*End, error) {
	end := &End{}
	err := json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimPrefix(closed, closedEvent), "]")), end)
	return end, err
}

func connectionFrame(text string) bool { return strings.HasPrefix(text, `[null,null,"chime",`) }

func (p socketPeer) Leave() error {
	if p.head.Header.Get("Sec-Websocket-Protocol") == "chime.v1" {
		return p.write(fin|opText, goodbye)
	}
	return p.write(fin|opClose, "\x03\xe8")
}

const goodbye = `[null,null,"chime","goodbye",{}]`

func (p socketPeer) Vanish() {
	if tlsConn, ok := p.Conn.(*tls.Conn); ok {
		_ = tlsConn.NetConn().Close() // without a close_notify
		return
	}
	_ = p.Conn.Close()
}
