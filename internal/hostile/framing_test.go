package hostile_test

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/raw"
)

// WebSocket framing by hand: what RFC 6455 allows is understood, and what it
// forbids ends the connection.

func TestFramesMayComeInAnyPieces(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	const say = `["1",null,"hall:1","say",{"a":"é"}]`
	const heard = `[null,null,"hall:1","say",{"a":"é"}]`
	ws := s.Phoenix(t).Join("hall:1", "attacker")
	for name, b := range map[string][]byte{
		"whole": raw.Masked(raw.Fin|raw.OpText, say),
		"in fragments": bytes.Join([][]byte{
			raw.Masked(raw.OpText, say[:5]), raw.Masked(raw.OpContinue, ""), raw.Masked(raw.OpContinue, say[5:len(say)-4]), // inside the é
			raw.Masked(raw.Fin|raw.OpContinue, say[len(say)-4:]),
		}, nil),
		"with pings between fragments": bytes.Join([][]byte{
			raw.Masked(raw.OpText, say[:5]), raw.Masked(raw.Fin|raw.OpPong, "unasked"), raw.Masked(raw.Fin|raw.OpPong, strings.Repeat("x", 125)), raw.Masked(raw.Fin|raw.OpContinue, say[5:]),
		}, nil),
		"with a key of zeros":            append([]byte{raw.Fin | raw.OpText, 0x80 | byte(len(say)), 0, 0, 0, 0}, say...),
		"with a length longer than need": append([]byte{raw.Fin | raw.OpText, 0x80 | 126, 0, byte(len(say)), 0, 0, 0, 0}, say...),
	} {
		t.Run(name, func(t *testing.T) {
			ws.Write(b)
			ws.Want(heard)
			w.Hears(heard)
			for i := range b { // a byte a write
				ws.Write(b[i : i+1])
			}
			ws.Want(heard)
			w.Hears(heard)
		})
	}
	t.Run("a ping between fragments is answered", func(t *testing.T) {
		ws.Write(raw.Masked(raw.OpText, say[:5]))
		ws.Write(raw.Masked(raw.Fin|raw.OpPing, "marco"))
		if opcode, payload, err := ws.Read(); opcode != raw.OpPong || payload != "marco" || err != nil {
			t.Errorf("got %#x %q %v, want the pong", opcode, payload, err)
		}
		ws.Write(raw.Masked(raw.Fin|raw.OpContinue, say[5:]))
		ws.Want(heard)
		w.Hears(heard)
	})
	w.IsWell()
	s.Hall.WantNobodyLeft(t)
}

// TestFramesMayComeWithTheHandshake: what net/http has read already is not lost.
func TestFramesMayComeWithTheHandshake(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	conn := s.Connect(t)
	early := append(raw.Masked(raw.Fin|raw.OpText, `["1","1","hall:1","phx_join",{"as":"eager"}]`), raw.Masked(raw.Fin|raw.OpText, `["1",null,"hall:1","say",{"n":1}]`)...)
	head := "GET " + raw.PhoenixTarget + " HTTP/1.1\r\nHost: " + s.Host + "\r\n" + strings.Join(raw.UpgradeHeader, "\r\n") + "\r\n\r\n"
	if _, err := conn.Write(append([]byte(head), early...)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	ws := (&raw.Socket{T: t, Conn: conn, R: r, Head: raw.AnswerOn(t, r, nil)}).Opened()
	ws.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `[null,null,"hall:1","say",{"n":1}]`)
	w.Hears(`[null,null,"hall:1","say",{"n":1}]`)
	w.IsWell()
}

func TestForbiddenFramingCloses1002(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	const say = `["1",null,"hall:1","say",{}]`
	for name, b := range map[string][]byte{
		"not masked":                         raw.AppendFrame(nil, raw.Fin|raw.OpText, false, say),
		"a reserved bit":                     raw.Masked(raw.Fin|0x40|raw.OpText, say), // what a client that compresses would send
		"another reserved bit":               raw.Masked(raw.Fin|0x10|raw.OpText, say),
		"an unknown opcode":                  raw.Masked(raw.Fin|0x3, say),
		"an unknown control opcode":          raw.Masked(raw.Fin|0xb, say),
		"a continuation of nothing":          raw.Masked(raw.Fin|raw.OpContinue, say),
		"a message within a message":         append(raw.Masked(raw.OpText, say[:5]), raw.Masked(raw.Fin|raw.OpText, say)...),
		"a ping that is too long":            raw.Masked(raw.Fin|raw.OpPing, strings.Repeat("x", 126)),
		"a ping in fragments":                raw.Masked(raw.OpPing, "x"),
		"a close frame with half a code":     raw.Masked(raw.Fin|raw.OpClose, "\x03"),
		"a close frame with a reserved code": raw.Masked(raw.Fin|raw.OpClose, "\x03\xed"), // 1005
		"a close frame with an absurd code":  raw.Masked(raw.Fin|raw.OpClose, "\xff\xff"),
		"a close frame with code 0":          raw.Masked(raw.Fin|raw.OpClose, "\x00\x00"),
		"a length beyond 63 bits":            {raw.Fin | raw.OpText, 0x80 | 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			ws := s.Phoenix(t).Join("hall:1", "attacker")
			ws.Write(b)
			opcode, payload, err := ws.Read()
			if err != nil || opcode != raw.OpClose || !strings.HasPrefix(payload, "\x03\xea") {
				t.Errorf("got frame %#x %q and %v, want close 1002", opcode, payload, err)
			}
			_ = ws.Conn.Close()
			s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
			w.IsWell()
		})
	}
	s.Hall.WantNobodyLeft(t)
}

func TestCloseFrameIsEchoedAndTheTopicsAreLeft(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for name, payload := range map[string]string{
		"without a code": "",
		"1000":           "\x03\xe8",
		"1001":           "\x03\xe9gone away",
		"4999":           "\x13\x87" + strings.Repeat("x", 123),
	} {
		t.Run(name, func(t *testing.T) {
			ws := s.Phoenix(t).Join("hall:1", "leaver")
			ws.Write(raw.Masked(raw.Fin|raw.OpClose, payload))
			opcode, echo, err := ws.Read()
			if err != nil || opcode != raw.OpClose || echo != payload[:min(2, len(payload))] {
				t.Errorf("got frame %#x %q and %v, want the code back", opcode, echo, err)
			}
			ws.WantEnd()
			s.Hall.WantLeft(t, "hall:1", "leaver", "closed")
			w.IsWell()
		})
	}
	t.Run("cut without a close frame", func(t *testing.T) {
		for _, send := range []string{"", string(raw.Masked(raw.Fin|raw.OpText, `["1",null,"hall:1","say",{}]`)[:9]), "\x81"} {
			ws := s.Phoenix(t).Join("hall:1", "leaver")
			ws.Write([]byte(send))
			_ = ws.Conn.Close()
			s.Hall.WantLeft(t, "hall:1", "leaver", "vanished")
			w.IsWell()
		}
	})
	t.Run("what was sent before it is handled", func(t *testing.T) {
		ws := s.Phoenix(t).Join("hall:1", "leaver")
		ws.Write(append(raw.Masked(raw.Fin|raw.OpText, `["1",null,"hall:1","say",{"last":"words"}]`), raw.Masked(raw.Fin|raw.OpClose, "\x03\xe8")...))
		w.Hears(`[null,null,"hall:1","say",{"last":"words"}]`)
		s.Hall.WantLeft(t, "hall:1", "leaver", "closed")
		w.IsWell()
	})
	s.Hall.WantNobodyLeft(t)
}

func TestHandshakeThatIsNoneIsRefused(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	whole := "GET " + raw.PhoenixTarget + " HTTP/1.1\r\nHost: " + s.Host + "\r\n" + strings.Join(raw.UpgradeHeader, "\r\n") + "\r\n\r\n"
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"as it should be":     {whole, http.StatusSwitchingProtocols},
		"an unknown vsn":      {strings.Replace(whole, "2.0.0", "3.0.0", 1), http.StatusForbidden},
		"a vsn that is not":   {strings.Replace(whole, "2.0.0", "%ff%00", 1), http.StatusForbidden},
		"another subprotocol": {strings.Replace(whole, "Host:", "Sec-WebSocket-Protocol: graphql-ws\r\nHost:", 1), http.StatusForbidden},
		"no upgrade":          {strings.Replace(whole, "Upgrade: websocket", "X: y", 1), http.StatusBadRequest},
		"another upgrade":     {strings.Replace(whole, "Upgrade: websocket", "Upgrade: h2c", 1), http.StatusBadRequest},
		"no key":              {strings.Replace(whole, "Sec-WebSocket-Key", "X", 1), http.StatusBadRequest},
		"a bad key":           {strings.Replace(whole, "dGhl", "", 1), http.StatusBadRequest},
		"two keys":            {strings.Replace(whole, "Host:", raw.UpgradeHeader[3]+"\r\nHost:", 1), http.StatusBadRequest},
		"another version":     {strings.Replace(whole, "Version: 13", "Version: 8", 1), http.StatusBadRequest},
		"HTTP/1.0":            {strings.Replace(whole, "HTTP/1.1", "HTTP/1.0", 1), http.StatusUpgradeRequired},
	} {
		t.Run(name, func(t *testing.T) {
			res := s.Raw(t, c.request)
			if res.StatusCode != c.status {
				t.Errorf("got %s, want %d", res.Status, c.status)
			}
			w.IsWell()
		})
	}
}
