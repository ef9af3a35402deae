package dialect_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/go-chime/chime/internal/raw"
)

func TestPhoenixSubprotocols(t *testing.T) {
	s := raw.NewSite(t)
	for offered, want := range map[string]string{
		"":                                  "",
		"phoenix":                           "phoenix",
		"phoenix, base64url.bearer.phx.YQ":  "phoenix",
		"base64url.bearer.phx.YQ , phoenix": "phoenix",
		"graphql-ws, phoenix":               "phoenix",
		"base64url.bearer.phx.YQ":           "",
		"graphql-ws":                        "refused",
		"Phoenix":                           "refused",
	} {
		var header []string
		if offered != "" {
			header = append(header, "Sec-WebSocket-Protocol: "+offered)
		}
		ws := s.Upgrade(t, raw.PhoenixTarget, header...)
		if want == "refused" {
			ws.Head.Want(t, http.StatusForbidden, `{"reason":"none of these subprotocols is spoken here: want chime.v1 or phoenix"}`)
			continue
		}
		if got := ws.Opened().Head.Header.Get("Sec-WebSocket-Protocol"); got != want {
			t.Errorf("offered %q: got %q, want %q", offered, got, want)
		}
	}
}

// TestRequestsThatAreNoUpgrade are a 400 if they are a GET. Phoenix answers
// other methods with 400 too, without saying which are allowed.
func TestRequestsThatAreNoUpgrade(t *testing.T) {
	s := raw.NewSite(t)
	const allowed = "GET, HEAD, OPTIONS"
	for method, want := range map[string]struct {
		status int
		allow  string
	}{
		"GET": {http.StatusBadRequest, ""}, "HEAD": {http.StatusBadRequest, ""},
		"POST": {http.StatusMethodNotAllowed, allowed}, "DELETE": {http.StatusMethodNotAllowed, allowed},
	} {
		got := s.Request(t, method, raw.PhoenixTarget, "")
		if allow := got.Header.Get("Allow"); got.StatusCode != want.status || allow != want.allow {
			t.Errorf("%s: got %d and Allow %q, want %d and %q", method, got.StatusCode, allow, want.status, want.allow)
		}
	}
}

// TestPhoenixV1FramesThatAreNone: each key is needed, and a frame of V2 is none.
func TestPhoenixV1FramesThatAreNone(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for text, reason := range map[string]string{
		`{"event":"say","payload":{},"ref":"2"}`:        "frame has no topic",
		`{"topic":"hall:1","payload":{},"ref":"2"}`:     "frame has no event",
		`{"topic":"hall:1","event":"say","ref":"2"}`:    "frame has no payload",
		`{"topic":"hall:1","event":"say","payload":{}}`: "frame has no ref",
		`{}`: "frame has no topic",
		`{"topic":7,"event":"say","payload":{},"ref":"2"}`:                       "frame has a topic that is no string",
		`{"topic":"hall:1","event":null,"payload":{},"ref":"2"}`:                 "frame has an event that is no string",
		`{"topic":"hall:1","event":"say","payload":{},"ref":2}`:                  "frame has a ref that is no string",
		`{"topic":"hall:1","event":"say","payload":{},"ref":"2"`:                 "frame is not valid JSON",
		"{\"topic\":\"hall:1\",\"event\":\"\xff\",\"payload\":{},\"ref\":\"2\"}": "frame is not valid UTF-8",
		`["1","2","hall:1","say",{}]`:                                            "frame is not an object",
	} {
		t.Run(text, func(t *testing.T) {
			ws := s.Upgrade(t, "/socket/websocket").Opened()
			ws.Text(`{"topic":"hall:1","event":"phx_join","payload":{"as":"attacker"},"ref":"1"}`)
			ws.Want(`{"topic":"hall:1","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`)
			ws.Text(text)
			ws.WantClose(1007, reason)
			s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
			w.IsWell()
		})
	}
	t.Run("binary", func(t *testing.T) {
		ws := s.Upgrade(t, "/socket/websocket").Opened()
		ws.Write(raw.Masked(raw.Fin|raw.OpBinary, "\x00\x01\x01\x06\x0312hall:1say"))
		ws.WantClose(1007, "binary frames are not part of this dialect")
	})
	s.Hall.WantNobodyLeft(t)
}

// TestBinaryFrameCutAtEveryByte: a length that points past the end is told, one
// that does not makes another frame, and nobody else is harmed by either.
func TestBinaryFrameCutAtEveryByte(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	const whole = "\x00\x01\x01\x06\x0312hall:1say\xde\xad"
	const names = len(whole) - 2
	for n := range whole {
		ws := s.Phoenix(t).Join("hall:1", "attacker")
		ws.Write(raw.Masked(raw.Fin|raw.OpBinary, whole[:n]))
		switch {
		case n < 5:
			ws.WantClose(1007, "binary frame is no push")
		case n < names:
			ws.WantClose(1007, "binary frame is cut short")
		default:
			heard := "\x02\x06\x03hall:1say" + whole[names:n]
			if opcode, got, err := ws.Read(); err != nil || opcode != raw.OpBinary || got != heard {
				t.Errorf("cut to %d bytes: got frame %#x %q and %v, want %q", n, opcode, got, err, heard)
			}
			ws.Want(`["1","2","hall:1","phx_reply",{"status":"ok","response":{}}]`)
			if opcode, got, err := w.Ws.Read(); err != nil || opcode != raw.OpBinary || got != heard {
				t.Errorf("the witness: got frame %#x %q and %v, want %q", opcode, got, err, heard)
			}
			w.Es.Want(`[null,null,"hall:1","say",{"@binary":"` + base64.StdEncoding.EncodeToString([]byte(whole[names:n])) + `"}]`)
			ws.Write(raw.Masked(raw.Fin|raw.OpClose, "\x03\xe8"))
		}
		s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
		w.IsWell()
	}
	for at := 1; at <= 4; at++ { // each length
		for _, n := range []byte{byte(len(whole) - 5 + 1), 0xff} {
			ws := s.Phoenix(t).Join("hall:1", "attacker")
			ws.Write(raw.Masked(raw.Fin|raw.OpBinary, whole[:at]+string([]byte{n})+whole[at+1:]))
			ws.WantClose(1007, "binary frame is cut short")
			s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
			w.IsWell()
		}
	}
	s.Hall.WantNobodyLeft(t)
}
