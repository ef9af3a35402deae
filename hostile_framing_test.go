package chime_test

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// WebSocket framing by hand: what RFC 6455 allows is understood, and what it
// forbids ends the connection.

func TestFramesMayComeInAnyPieces(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	const say = `["1",null,"hall:1","say",{"a":"é"}]`
	const heard = `[null,null,"hall:1","say",{"a":"é"}]`
	ws := s.phoenix(t).join("hall:1", "attacker")
	for name, b := range map[string][]byte{
		"whole": maskedFrame(fin|opText, say),
		"in fragments": bytes.Join([][]byte{
			maskedFrame(opText, say[:5]), maskedFrame(opContinue, ""), maskedFrame(opContinue, say[5:len(say)-4]), // inside the é
			maskedFrame(fin|opContinue, say[len(say)-4:]),
		}, nil),
		"with pings between fragments": bytes.Join([][]byte{
			maskedFrame(opText, say[:5]), maskedFrame(fin|opPong, "unasked"), maskedFrame(fin|opPong, strings.Repeat("x", 125)), maskedFrame(fin|opContinue, say[5:]),
		}, nil),
		"with a key of zeros":            append([]byte{fin | opText, 0x80 | byte(len(say)), 0, 0, 0, 0}, say...),
		"with a length longer than need": append([]byte{fin | opText, 0x80 | 126, 0, byte(len(say)), 0, 0, 0, 0}, say...),
	} {
		t.Run(name, func(t *testing.T) {
			ws.write(b)
			ws.want(heard)
			w.hears(heard)
			for i := range b { // a byte a write
				ws.write(b[i : i+1])
			}
			ws.want(heard)
			w.hears(heard)
		})
	}
	t.Run("a ping between fragments is answered", func(t *testing.T) {
		ws.write(maskedFrame(opText, say[:5]))
		ws.write(maskedFrame(fin|opPing, "marco"))
		if opcode, payload, err := ws.read(); opcode != opPong || payload != "marco" || err != nil {
			t.Errorf("got %#x %q %v, want the pong", opcode, payload, err)
		}
		ws.write(maskedFrame(fin|opContinue, say[5:]))
		ws.want(heard)
		w.hears(heard)
	})
	w.isWell()
	s.hall.wantNobodyLeft(t)
}

// TestFramesMayComeWithTheHandshake: what net/http has read already is not lost.
func TestFramesMayComeWithTheHandshake(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	conn := s.connect(t)
	early := append(maskedFrame(fin|opText, `["1","1","hall:1","phx_join",{"as":"eager"}]`), maskedFrame(fin|opText, `["1",null,"hall:1","say",{"n":1}]`)...)
	head := "GET " + phoenixTarget + " HTTP/1.1\r\nHost: " + s.host + "\r\n" + strings.Join(upgradeHeader, "\r\n") + "\r\n\r\n"
	if _, err := conn.Write(append([]byte(head), early...)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	ws := (&rawSocket{t: t, conn: conn, r: r, head: answerOn(t, r, nil)}).opened()
	ws.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `[null,null,"hall:1","say",{"n":1}]`)
	w.hears(`[null,null,"hall:1","say",{"n":1}]`)
	w.isWell()
}

func TestForbiddenFramingCloses1002(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	const say = `["1",null,"hall:1","say",{}]`
	for name, b := range map[string][]byte{
		"not masked":                         appendFrame(nil, fin|opText, false, say),
		"a reserved bit":                     maskedFrame(fin|0x40|opText, say), // what a client that compresses would send
		"another reserved bit":               maskedFrame(fin|0x10|opText, say),
		"an unknown opcode":                  maskedFrame(fin|0x3, say),
		"an unknown control opcode":          maskedFrame(fin|0xb, say),
		"a continuation of nothing":          maskedFrame(fin|opContinue, say),
		"a message within a message":         append(maskedFrame(opText, say[:5]), maskedFrame(fin|opText, say)...),
		"a ping that is too long":            maskedFrame(fin|opPing, strings.Repeat("x", 126)),
		"a ping in fragments":                maskedFrame(opPing, "x"),
		"a close frame with half a code":     maskedFrame(fin|opClose, "\x03"),
		"a close frame with a reserved code": maskedFrame(fin|opClose, "\x03\xed"), // 1005
		"a close frame with an absurd code":  maskedFrame(fin|opClose, "\xff\xff"),
		"a close frame with code 0":          maskedFrame(fin|opClose, "\x00\x00"),
		"a length beyond 63 bits":            {fin | opText, 0x80 | 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			ws := s.phoenix(t).join("hall:1", "attacker")
			ws.write(b)
			opcode, payload, err := ws.read()
			if err != nil || opcode != opClose || !strings.HasPrefix(payload, "\x03\xea") {
				t.Errorf("got frame %#x %q and %v, want close 1002", opcode, payload, err)
			}
			_ = ws.conn.Close()
			s.hall.wantLeft(t, departure{"hall:1", "attacker", "closed"})
			w.isWell()
		})
	}
	s.hall.wantNobodyLeft(t)
}

func TestCloseFrameIsEchoedAndTheTopicsAreLeft(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	for name, payload := range map[string]string{
		"without a code": "",
		"1000":           "\x03\xe8",
		"1001":           "\x03\xe9gone away",
		"4999":           "\x13\x87" + strings.Repeat("x", 123),
	} {
		t.Run(name, func(t *testing.T) {
			ws := s.phoenix(t).join("hall:1", "leaver")
			ws.write(maskedFrame(fin|opClose, payload))
			opcode, echo, err := ws.read()
			if err != nil || opcode != opClose || echo != payload[:min(2, len(payload))] {
				t.Errorf("got frame %#x %q and %v, want the code back", opcode, echo, err)
			}
			ws.wantEnd()
			s.hall.wantLeft(t, departure{"hall:1", "leaver", "closed"})
			w.isWell()
		})
	}
	t.Run("cut without a close frame", func(t *testing.T) {
		for _, send := range []string{"", string(maskedFrame(fin|opText, `["1",null,"hall:1","say",{}]`)[:9]), "\x81"} {
			ws := s.phoenix(t).join("hall:1", "leaver")
			ws.write([]byte(send))
			_ = ws.conn.Close()
			s.hall.wantLeft(t, departure{"hall:1", "leaver", "gone"})
			w.isWell()
		}
	})
	t.Run("what was sent before it is handled", func(t *testing.T) {
		ws := s.phoenix(t).join("hall:1", "leaver")
		ws.write(append(maskedFrame(fin|opText, `["1",null,"hall:1","say",{"last":"words"}]`), maskedFrame(fin|opClose, "\x03\xe8")...))
		w.hears(`[null,null,"hall:1","say",{"last":"words"}]`)
		s.hall.wantLeft(t, departure{"hall:1", "leaver", "closed"})
		w.isWell()
	})
	s.hall.wantNobodyLeft(t)
}

func TestHandshakeThatIsNoneIsRefused(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	whole := "GET " + phoenixTarget + " HTTP/1.1\r\nHost: " + s.host + "\r\n" + strings.Join(upgradeHeader, "\r\n") + "\r\n\r\n"
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
		"two keys":            {strings.Replace(whole, "Host:", upgradeHeader[3]+"\r\nHost:", 1), http.StatusBadRequest},
		"another version":     {strings.Replace(whole, "Version: 13", "Version: 8", 1), http.StatusBadRequest},
		"HTTP/1.0":            {strings.Replace(whole, "HTTP/1.1", "HTTP/1.0", 1), http.StatusUpgradeRequired},
	} {
		t.Run(name, func(t *testing.T) {
			res := s.raw(t, c.request)
			if res.StatusCode != c.status {
				t.Errorf("got %s, want %d", res.Status, c.status)
			}
			w.isWell()
		})
	}
}
