package chime_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// Opcodes of RFC 6455, section 5.2.
const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xa
	fin        = 0x80
)

// rawSocket is a WebSocket client that writes its frames by hand.
type rawSocket struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	head *answer
}

const (
	phoenixTarget = "/socket/websocket?vsn=2.0.0"
	chimeTarget   = "/socket/websocket"
	chimeProtocol = "Sec-WebSocket-Protocol: chime.v1"
)

var upgradeHeader = []string{
	"Connection: Upgrade", "Upgrade: websocket",
	"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

// upgrade asks for a WebSocket and returns whatever is answered.
func (s *rawSite) upgrade(t *testing.T, target string, header ...string) *rawSocket {
	t.Helper()
	return s.upgradeOn(t, s.connect(t), target, header...)
}

func (s *rawSite) upgradeOn(t *testing.T, conn net.Conn, target string, header ...string) *rawSocket {
	t.Helper()
	var b strings.Builder
	b.WriteString("GET " + target + " HTTP/1.1\r\nHost: " + s.host + "\r\n")
	for _, line := range append(header, upgradeHeader...) {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	// Written beside the reading: a server may refuse a request that it has
	// not read to its end.
	go func() { _, _ = io.WriteString(conn, b.String()) }()
	r := bufio.NewReader(conn)
	return &rawSocket{t: t, conn: conn, r: r, head: answerOn(t, r, nil)}
}

// phoenix opens a WebSocket of the Phoenix dialect.
func (s *rawSite) phoenix(t *testing.T, header ...string) *rawSocket {
	t.Helper()
	return s.upgrade(t, phoenixTarget, header...).opened()
}

// chime opens a WebSocket of the chime dialect and returns its secret too.
func (s *rawSite) chime(t *testing.T, header ...string) (*rawSocket, string) {
	t.Helper()
	ws := s.upgrade(t, chimeTarget, append(header, chimeProtocol)...).opened()
	return ws, secretIn(t, ws.next())
}

// secretIn takes the secret out of a hello.
func secretIn(t *testing.T, text string) string {
	t.Helper()
	var frame [5]json.RawMessage
	var hello struct{ Secret string }
	if json.Unmarshal([]byte(text), &frame) != nil || string(frame[3]) != `"hello"` ||
		json.Unmarshal(frame[4], &hello) != nil || len(hello.Secret) < 22 {
		t.Fatalf("got %s, want hello with a secret of at least 128 bits", clip(text))
	}
	return hello.Secret
}

func (ws *rawSocket) opened() *rawSocket {
	ws.t.Helper()
	if ws.head.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(ws.head.Body)
		ws.t.Fatalf("upgrade: got %s %s, want 101", ws.head.Status, clip(string(body)))
	}
	return ws
}

// maskedFrame builds one frame, masked as a client must.
func maskedFrame(first byte, payload string) []byte { return appendFrame(nil, first, true, payload) }

func appendFrame(b []byte, first byte, masked bool, payload string) []byte {
	b = append(b, first)
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, bit|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	key := [4]byte{0xde, 0xad, 0xbe, 0xef}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// text sends a text frame.
func (ws *rawSocket) text(s string) {
	ws.t.Helper()
	ws.write(maskedFrame(fin|opText, s))
}

// write sends bytes. That the server has hung up already is no error: what it
// said is still there to be read.
func (ws *rawSocket) write(b []byte) {
	ws.t.Helper()
	if _, err := ws.conn.Write(b); err != nil && !hungUp(err) {
		ws.t.Fatalf("write: %v", err)
	}
}

func hungUp(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrClosedPipe)
}

// read returns the next frame of the server, which must be a whole one.
func (ws *rawSocket) read() (opcode byte, payload string, err error) {
	var head [2]byte
	if _, err := io.ReadFull(ws.r, head[:]); err != nil {
		return 0, "", err
	}
	n := int(head[1])
	switch {
	case head[0]&fin == 0 || head[0]&0x70 != 0:
		return 0, "", errors.New("a fragment, or a reserved bit")
	case n > 127:
		return 0, "", errors.New("a masked frame from a server")
	case n == 126:
		var size [2]byte
		if _, err := io.ReadFull(ws.r, size[:]); err != nil {
			return 0, "", err
		}
		n = int(binary.BigEndian.Uint16(size[:]))
	case n == 127:
		var size [8]byte
		if _, err := io.ReadFull(ws.r, size[:]); err != nil {
			return 0, "", err
		}
		n = int(binary.BigEndian.Uint64(size[:]))
	}
	p := make([]byte, n)
	_, err = io.ReadFull(ws.r, p)
	return head[0] & 0xf, string(p), err
}

// next returns the next text frame.
func (ws *rawSocket) next() string {
	ws.t.Helper()
	opcode, text, err := ws.read()
	if err != nil || opcode != opText {
		ws.t.Fatalf("got frame %#x %q and error %v, want a text frame", opcode, clip(text), err)
	}
	return text
}

// want compares the next text frames.
func (ws *rawSocket) want(frames ...string) {
	ws.t.Helper()
	for _, want := range frames {
		if got := ws.next(); got != want {
			ws.t.Fatalf("got  %s\nwant %s", clip(got), clip(want))
		}
	}
}

// wantClose expects a close frame, answers it, and expects the end.
func (ws *rawSocket) wantClose(code uint16, reason string) {
	ws.t.Helper()
	ws.wantCloseFrame(code, reason)
	ws.write(maskedFrame(fin|opClose, ""))
	ws.wantEnd()
}

// wantCloseFrame expects a close frame.
func (ws *rawSocket) wantCloseFrame(code uint16, reason string) {
	ws.t.Helper()
	opcode, payload, err := ws.read()
	if err != nil || opcode != opClose {
		ws.t.Fatalf("got frame %#x %q and error %v, want a close frame", opcode, clip(payload), err)
	}
	if len(payload) < 2 {
		ws.t.Fatalf("got a close frame without a code, want %d", code)
	}
	got, text := binary.BigEndian.Uint16([]byte(payload)), payload[2:]
	if got != code || text != reason {
		ws.t.Errorf("closed with %d %q, want %d %q", got, text, code, reason)
	}
}

// wantEnd expects that the server hangs up and says no more.
func (ws *rawSocket) wantEnd() {
	ws.t.Helper()
	if opcode, payload, err := ws.read(); err == nil {
		ws.t.Errorf("got frame %#x %q, want the end", opcode, clip(payload))
	} else if !errors.Is(err, io.EOF) && !hungUp(err) {
		ws.t.Errorf("got %v, want the end", err)
	}
}

// join joins a topic under a name, with "1" as join_ref.
func (ws *rawSocket) join(topic, as string) *rawSocket {
	ws.t.Helper()
	ws.text(`["1","1","` + topic + `","phx_join",{"as":"` + as + `"}]`)
	ws.want(`["1","1","` + topic + `","phx_reply",{"status":"ok","response":{}}]`)
	return ws
}
