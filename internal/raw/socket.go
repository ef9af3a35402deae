package raw

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// Opcodes of RFC 6455, section 5.2.
const (
	OpContinue = 0x0
	OpText     = 0x1
	OpBinary   = 0x2
	OpClose    = 0x8
	OpPing     = 0x9
	OpPong     = 0xa
	Fin        = 0x80
)

// Socket is a WebSocket client that writes its frames by hand.
type Socket struct {
	T    *testing.T
	Conn net.Conn
	R    *bufio.Reader
	Head *Answer
}

const (
	PhoenixTarget = "/socket/websocket?vsn=2.0.0"
	ChimeTarget   = "/socket/websocket"
	ChimeProtocol = "Sec-WebSocket-Protocol: chime.v1"
)

var UpgradeHeader = []string{
	"Connection: Upgrade", "Upgrade: websocket",
	"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

// Upgrade asks for a WebSocket and returns whatever is answered.
func (s *Site) Upgrade(t *testing.T, target string, header ...string) *Socket {
	t.Helper()
	return s.upgradeOn(t, s.Connect(t), target, header...)
}

func (s *Site) upgradeOn(t *testing.T, conn net.Conn, target string, header ...string) *Socket {
	t.Helper()
	var b strings.Builder
	b.WriteString("GET " + target + " HTTP/1.1\r\nHost: " + s.Host + "\r\n")
	for _, line := range append(header, UpgradeHeader...) {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	// Written beside the reading: a server may refuse a request that it has
	// not read to its end.
	go func() { _, _ = io.WriteString(conn, b.String()) }()
	r := bufio.NewReader(conn)
	return &Socket{T: t, Conn: conn, R: r, Head: AnswerOn(t, r, nil)}
}

// Phoenix opens a WebSocket of the Phoenix dialect.
func (s *Site) Phoenix(t *testing.T, header ...string) *Socket {
	t.Helper()
	return s.Upgrade(t, PhoenixTarget, header...).Opened()
}

// Chime opens a WebSocket of the chime dialect and returns its secret too.
func (s *Site) Chime(t *testing.T, header ...string) (*Socket, string) {
	t.Helper()
	ws := s.Upgrade(t, ChimeTarget, append(header, ChimeProtocol)...).Opened()
	return ws, SecretIn(t, ws.Next())
}

// SecretIn takes the secret out of a hello.
func SecretIn(t *testing.T, text string) string {
	t.Helper()
	var frame [5]json.RawMessage
	var hello struct{ Secret string }
	if json.Unmarshal([]byte(text), &frame) != nil || string(frame[3]) != `"hello"` ||
		json.Unmarshal(frame[4], &hello) != nil || len(hello.Secret) < 22 {
		t.Fatalf("got %s, want hello with a secret of at least 128 bits", Clip(text))
	}
	return hello.Secret
}

func (ws *Socket) Opened() *Socket {
	ws.T.Helper()
	if ws.Head.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(ws.Head.Body)
		ws.T.Fatalf("upgrade: got %s %s, want 101", ws.Head.Status, Clip(string(body)))
	}
	return ws
}

// Masked builds one frame, masked as a client must.
func Masked(first byte, payload string) []byte { return AppendFrame(nil, first, true, payload) }

func AppendFrame(b []byte, first byte, masked bool, payload string) []byte {
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

// Text sends a text frame.
func (ws *Socket) Text(s string) {
	ws.T.Helper()
	ws.Write(Masked(Fin|OpText, s))
}

// Write sends bytes. That the server has hung up already is no error: what it
// said is still there to be read.
func (ws *Socket) Write(b []byte) {
	ws.T.Helper()
	if _, err := ws.Conn.Write(b); err != nil && !hungUp(err) {
		ws.T.Fatalf("write: %v", err)
	}
}

func hungUp(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrClosedPipe)
}

// Read returns the next frame of the server, which must be a whole one.
func (ws *Socket) Read() (opcode byte, payload string, err error) {
	var head [2]byte
	if _, err := io.ReadFull(ws.R, head[:]); err != nil {
		return 0, "", err
	}
	n := int(head[1])
	switch {
	case head[0]&Fin == 0 || head[0]&0x70 != 0:
		return 0, "", errors.New("a fragment, or a reserved bit")
	case n > 127:
		return 0, "", errors.New("a masked frame from a server")
	case n == 126:
		var size [2]byte
		if _, err := io.ReadFull(ws.R, size[:]); err != nil {
			return 0, "", err
		}
		n = int(binary.BigEndian.Uint16(size[:]))
	case n == 127:
		var size [8]byte
		if _, err := io.ReadFull(ws.R, size[:]); err != nil {
			return 0, "", err
		}
		n = int(binary.BigEndian.Uint64(size[:]))
	}
	p := make([]byte, n)
	_, err = io.ReadFull(ws.R, p)
	return head[0] & 0xf, string(p), err
}

// said is Read without pings, which are not answered.
func (ws *Socket) said() (opcode byte, payload string, err error) {
	for {
		if opcode, payload, err = ws.Read(); err != nil || opcode != OpPing {
			return opcode, payload, err
		}
	}
}

// Next returns the next text frame.
func (ws *Socket) Next() string {
	ws.T.Helper()
	opcode, text, err := ws.said()
	if err != nil || opcode != OpText {
		ws.T.Fatalf("got frame %#x %q and error %v, want a text frame", opcode, Clip(text), err)
	}
	return text
}

// Want compares the next text frames.
func (ws *Socket) Want(frames ...string) {
	ws.T.Helper()
	for _, want := range frames {
		if got := ws.Next(); got != want {
			ws.T.Fatalf("got  %s\nwant %s", Clip(got), Clip(want))
		}
	}
}

// WantClose expects a close frame, answers it, and expects the end.
func (ws *Socket) WantClose(code uint16, reason string) {
	ws.T.Helper()
	ws.WantCloseFrame(code, reason)
	ws.Write(Masked(Fin|OpClose, ""))
	ws.WantEnd()
}

// WantCloseFrame expects a close frame, and in the chime dialect the frame before it
// that says the same.
func (ws *Socket) WantCloseFrame(code uint16, reason string) {
	ws.T.Helper()
	if ws.Head.Header.Get("Sec-WebSocket-Protocol") == "chime.v1" {
		ws.Want(fmt.Sprintf(`[null,null,"chime","closed",{"code":%d,"reason":%q}]`, code, reason))
	}
	ws.WantBareClose(code, reason)
}

// WantBareClose expects a close frame.
func (ws *Socket) WantBareClose(code uint16, reason string) {
	ws.T.Helper()
	opcode, payload, err := ws.said()
	if err != nil || opcode != OpClose {
		ws.T.Fatalf("got frame %#x %q and error %v, want a close frame", opcode, Clip(payload), err)
	}
	if len(payload) < 2 {
		ws.T.Fatalf("got a close frame without a code, want %d", code)
	}
	got, text := binary.BigEndian.Uint16([]byte(payload)), payload[2:]
	if got != code || text != reason {
		ws.T.Errorf("closed with %d %q, want %d %q", got, text, code, reason)
	}
}

// WantEnd expects that the server hangs up and says no more.
func (ws *Socket) WantEnd() {
	ws.T.Helper()
	if opcode, payload, err := ws.said(); err == nil {
		ws.T.Errorf("got frame %#x %q, want the end", opcode, Clip(payload))
	} else if !errors.Is(err, io.EOF) && !hungUp(err) {
		ws.T.Errorf("got %v, want the end", err)
	}
}

// Stay reads in the background until the connection ends, and answers pings, as a
// browser does for a page that has nothing to say.
func (ws *Socket) Stay() {
	go func() {
		for {
			opcode, _, err := ws.Read()
			if err == nil && opcode == OpPing {
				_, err = ws.Conn.Write(Masked(Fin|OpPong, ""))
			}
			if err != nil {
				return
			}
		}
	}()
}

// Join joins a topic under a name, with "1" as join_ref.
func (ws *Socket) Join(topic, as string) *Socket {
	ws.T.Helper()
	ws.Text(`["1","1","` + topic + `","phx_join",{"as":"` + as + `"}]`)
	ws.Want(`["1","1","` + topic + `","phx_reply",{"status":"ok","response":{}}]`)
	return ws
}
