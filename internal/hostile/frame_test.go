package hostile_test

import (
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/raw"
)

// Bad input on both transports. In every test a witness sits in the topic, and
// must get the next broadcast as if nothing had happened.

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// badFrames are texts that are no frame, and what the client is told.
var badFrames = []struct {
	name, text, reason string
}{
	{"no JSON", `hello`, "frame is not valid JSON"},
	{"nothing", ``, "frame is not valid JSON"},
	{"cut short", `["1","1","hall:1","say",{"a":`, "frame is not valid JSON"},
	{"two frames", `["1","2","hall:1","say",{}]["1","3","hall:1","say",{}]`, "frame is not valid JSON"},
	{"a raw LF in a string", "[\"1\",\"2\",\"hall:1\",\"say\",{\"a\":\"x\ny\"}]", "frame is not valid JSON"},
	{"a raw NUL in a string", "[\"1\",\"2\",\"hall:1\",\"say\",{\"a\":\"x\x00y\"}]", "frame is not valid JSON"},
	{"a payload nested 20,000 deep", `["1","2","hall:1","say",` + deep(20_000) + `]`, "frame is not valid JSON"},
	{"nested 20,000 deep from the start", deep(20_000), "frame is not valid JSON"},
	{"no array", `{"topic":"hall:1","event":"say"}`, "frame is not an array"},
	{"a number", `17`, "frame is not an array"},
	{"null", `null`, "frame is not an array"},
	{"an empty array", `[]`, "frame has fewer than 5 elements"},
	{"too short", `["1","2","hall:1","say"]`, "frame has fewer than 5 elements"},
	{"a join_ref that is a number", `[1,"2","hall:1","say",{}]`, "frame has a join_ref that is no string"},
	{"a ref that is a list", `["1",["2"],"hall:1","say",{}]`, "frame has a ref that is no string"},
	{"a join_ref of 60 kB", `["` + strings.Repeat("é", 30_000) + `","2","hall:1","say",{}]`, "frame has a join_ref of 60000 bytes: want at most 255"},
	{"a ref of 256 bytes", `["1","` + strings.Repeat("2", 256) + `","hall:1","say",{}]`, "frame has a ref of 256 bytes: want at most 255"},
	{"bytes that are no base64, with an escaped key", `["1","2","hall:1","say",{"\u0040binary":"!"}]`, "frame has a malformed @binary: illegal base64 data at input byte 0"},
	{"a topic that is null", `["1","2",null,"say",{}]`, "frame has a topic that is no string"},
	{"a topic that is an object", `["1","2",{"a":"hall:1"},"say",{}]`, "frame has a topic that is no string"},
	{"an event that is true", `["1","2","hall:1",true,{}]`, "frame has an event that is no string"},
	{"a binary payload that is no base64", `["1","2","hall:1","say",{"@binary":"?"}]`, "frame has a malformed @binary: illegal base64 data at input byte 0"},
	{"a byte that is no UTF-8", "[\"1\",\"2\",\"hall:1\",\"say\",{\"a\":\"\xff\"}]", "frame is not valid UTF-8"},
	{"half a surrogate pair as UTF-8", "[\"1\",\"2\",\"hall:1\",\"say\",{\"a\":\"\xed\xa0\x80\"}]", "frame is not valid UTF-8"},
	{"an overlong NUL", "[\"1\",\"2\",\"hall:\xc0\x80\",\"say\",{}]", "frame is not valid UTF-8"},
}

func TestUndecodableFrameClosesItsWebSocketOnly(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for _, dialect := range []string{"phoenix", "chime"} {
		for _, bad := range badFrames {
			t.Run(dialect+"/"+bad.name, func(t *testing.T) {
				ws := speaking(t, s, dialect).Join("hall:1", "attacker")
				ws.Text(bad.text)
				ws.WantClose(1007, bad.reason)
				s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
				w.IsWell()
			})
		}
	}
	s.Hall.WantNobodyLeft(t)
}

// speaking opens a WebSocket of a dialect.
func speaking(t *testing.T, s *raw.Site, dialect string) *raw.Socket {
	t.Helper()
	if dialect == "chime" {
		ws, _ := s.Chime(t)
		return ws
	}
	return s.Phoenix(t)
}

func TestUndecodableBinaryFrameClosesItsWebSocketOnly(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for _, bad := range []struct{ name, data, reason string }{
		{"nothing", "", "binary frame is no push"},
		{"a reply", "\x01\x01\x01\x06\x0311hall:1say", "binary frame is no push"},
		{"four bytes", "\x00\x01\x01\x06", "binary frame is no push"},
		{"lengths beyond its end", "\x00\x01\x01\xff\xff12hall:1say", "binary frame is cut short"},
		{"a topic that is no UTF-8", "\x00\x01\x01\x06\x0312hall\xff1say", "frame is not valid UTF-8"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			ws := s.Phoenix(t).Join("hall:1", "attacker")
			ws.Write(raw.Masked(raw.Fin|raw.OpBinary, bad.data))
			ws.WantClose(1007, bad.reason)
			s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
			w.IsWell()
		})
	}
}

func TestUndecodableFrameInAPostIsRefusedWithItsNumberAndNothingIsApplied(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	es, secret := s.Half(t)
	s.Post(t, secret, `{"first":1,"received":0,"frames":[["1","1","hall:1","phx_join",{"as":"attacker"}]]}`).WantApplied(t, 1)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	for _, bad := range badFrames {
		t.Run(bad.name, func(t *testing.T) {
			// A good frame stands in front of the bad one, and must not be applied.
			res := s.Post(t, secret, `{"first":2,"received":1,"frames":[["1","2","hall:1","say",{}],`+bad.text+`]}`)
			if bad.name == "two frames" { // the second stands where a comma should
				res.WantBatchRefused(t, 0, "")
			} else {
				res.WantBatchRefused(t, 2, bad.reason)
			}
			w.IsWell()
		})
		es.Want(raw.Tick(w.N))
	}
	s.Post(t, secret, `{"first":2,"received":1,"frames":[["1","2","hall:1","say",{"a":1}]]}`).WantApplied(t, 2)
	w.Hears(`[null,null,"hall:1","say",{"a":1}]`)
	s.Hall.WantNobodyLeft(t)
}

func TestTooLargeMessageCloses1009(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	const most = 64 << 10
	fit := func(n int) string {
		const head, tail = `["1","2","hall:1","echo","`, `"]`
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	t.Run("the limit itself is allowed", func(t *testing.T) {
		ws := s.Phoenix(t).Join("hall:1", "attacker")
		ws.Text(fit(most))
		if got := ws.Next(); !strings.HasPrefix(got, `["1","2","hall:1","phx_reply",{"status":"ok","response":"xxx`) {
			t.Errorf("got %s, want an ok reply", raw.Clip(got))
		}
		ws.Write(raw.Masked(raw.Fin|raw.OpClose, "\x03\xe8"))
		s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
	})
	for name, send := range map[string]func(*raw.Socket){
		"one byte more":  func(ws *raw.Socket) { ws.Text(fit(most + 1)) },
		"1 MiB":          func(ws *raw.Socket) { ws.Text(fit(1 << 20)) },
		"binary":         func(ws *raw.Socket) { ws.Write(raw.Masked(raw.Fin|raw.OpBinary, fit(most+1))) },
		"only its claim": func(ws *raw.Socket) { ws.Write(raw.Masked(raw.Fin|raw.OpText, fit(1<<20))[:most+1000]) },
		"in fragments": func(ws *raw.Socket) {
			ws.Write(raw.Masked(raw.OpText, fit(most)))
			ws.Write(raw.Masked(raw.OpContinue, "x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ws := s.Phoenix(t).Join("hall:1", "attacker")
			send(ws)
			ws.WantCloseFrame(1009, "message too large")
			_ = ws.Conn.Close()
			s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
			w.IsWell()
		})
	}
}

func TestRawLineBreaksInAPayloadReachNobody(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	const want = `[null,null,"hall:1","say",{"a":[1,2],"b":" x "}]`
	broken := "{\n\"a\": [1,\r\n2],\r\"b\" :\" x \"\n\n}"

	ws := s.Phoenix(t).Join("hall:1", "attacker")
	ws.Text("[\"1\",\n\"2\",\"hall:1\",\"say\",\r\n" + broken + "\n]\n")
	ws.Want(want, `["1","2","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	w.Hears(want)

	es, secret := s.Half(t)
	s.Post(t, secret, "{\"first\":1,\n\"frames\":[[\"1\",\"1\",\"hall:1\",\"phx_join\",{}]\n,\r[\"1\",\"2\",\"hall:1\",\"say\","+broken+"]]}").WantApplied(t, 2)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, want)
	w.Hears(want)
	ws.Text("[\"1\",\"3\",\"hall:1\",\"echo\",[\n]]")
	ws.Want(want, `["1","3","hall:1","phx_reply",{"status":"ok","response":[]}]`)
	w.IsWell()
}
