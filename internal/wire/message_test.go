package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/go-chime/chime/internal/wire"
)

// forms is a message in all the ways it can be written.
type forms struct {
	phoenix    string // text on a WebSocket, for the Phoenix dialect
	positioned string // text of the chime dialect, on a WebSocket and in an event
	joined     string // text for a join with the join_ref "jr" that asked for positions in the Phoenix dialect
}

func same(text string) forms { return forms{text, text, text} }

func TestFormsOfTextMessages(t *testing.T) {
	joinRef, ref := wire.RefOf("1"), wire.RefOf("2")
	history := &wire.History{Epoch: "e", Offset: 41}
	tests := []struct {
		name string
		m    *wire.Message
		want forms
	}{
		{"a broadcast", wire.NewPush("t", "e", []byte(`{"a":1}`), 0), same(`[null,null,"t","e",{"a":1}]`)},
		{"a retained broadcast", wire.NewPush("t", "e", []byte(`{}`), 42), forms{
			`[null,null,"t","e",{}]`, `[null,"@42","t","e",{}]`, `["jr","@42","t","e",{}]`}},
		{"the greatest offset", wire.NewPush("t", "e", []byte(`{}`), 1<<64-1), forms{
			`[null,null,"t","e",{}]`, `[null,"@18446744073709551615","t","e",{}]`, `["jr","@18446744073709551615","t","e",{}]`}},
		{"a push to one", wire.NewPush("t", "e", []byte(`{}`), 0).WithRefs(joinRef, wire.Ref{}), same(`["1",null,"t","e",{}]`)},
		{"a frame", wire.NewFrame(joinRef, ref, "t", "e", []byte(`{}`)), same(`["1","2","t","e",{}]`)},
		{"names that need escapes", wire.NewPush("<t>\"", "e\n\u2028é", []byte(`{}`), 0), same(`[null,null,"<t>\"","e\n\u2028é",{}]`)},
		{"refs that need escapes", wire.NewFrame(wire.RefOf("\x00"), wire.RefOf(""), "t", "e", []byte(`{}`)), same(`["\u0000","","t","e",{}]`)},

		{"a reply", wire.NewReply(joinRef, ref, "t", "ok", []byte(`{"a":1}`)), same(`["1","2","t","phx_reply",{"status":"ok","response":{"a":1}}]`)},
		{"an error reply without a join_ref", wire.NewReply(wire.Ref{}, ref, "t", "error", []byte(`{"reason":"x"}`)), same(`[null,"2","t","phx_reply",{"status":"error","response":{"reason":"x"}}]`)},
		{"a reply that is no object", wire.NewReply(joinRef, ref, "t", "ok", []byte(`"pong"`)), same(`["1","2","t","phx_reply",{"status":"ok","response":"pong"}]`)},

		{"a join reply without history", wire.NewJoinReply(joinRef, ref, "t", []byte(`{"a":1}`), nil, true), same(`["1","2","t","phx_reply",{"status":"ok","response":{"a":1}}]`)},
		{"a join reply with history", wire.NewJoinReply(joinRef, ref, "t", []byte(`{"a":1}`), history, false), forms{
			`["1","2","t","phx_reply",{"status":"ok","response":{"a":1}}]`,
			`["1","2","t","phx_reply",{"status":"ok","response":{"@history":{"epoch":"e","offset":41},"a":1}}]`,
			`["1","2","t","phx_reply",{"status":"ok","response":{"a":1}}]`}},
		{"a join reply to one that asked", wire.NewJoinReply(joinRef, ref, "t", []byte(`{}`), &wire.History{Epoch: "<é>", Recovered: new(false)}, true),
			same(`["1","2","t","phx_reply",{"status":"ok","response":{"@history":{"epoch":"<é>","offset":0,"recovered":false}}}]`)},
		{"recovered", wire.NewJoinReply(joinRef, ref, "t", []byte(`{"a":1}`), &wire.History{Epoch: "e", Recovered: new(true)}, true),
			same(`["1","2","t","phx_reply",{"status":"ok","response":{"@history":{"epoch":"e","offset":0,"recovered":true},"a":1}}]`)},
		{"an empty reply with a space in it", wire.NewJoinReply(joinRef, ref, "t", []byte(`{ }`), history, true),
			same(`["1","2","t","phx_reply",{"status":"ok","response":{"@history":{"epoch":"e","offset":41} }}]`)},
		{"a reply with spaces in it", wire.NewJoinReply(joinRef, ref, "t", []byte("{\t\"a\":1} "), history, true),
			same("[\"1\",\"2\",\"t\",\"phx_reply\",{\"status\":\"ok\",\"response\":{\"@history\":{\"epoch\":\"e\",\"offset\":41},\t\"a\":1} }]")},

		{"a heartbeat", wire.NewHeartbeat(7, 3), same(`[null,null,"chime","heartbeat",{"sent":7,"received":3}]`)},
		{"a drain", wire.NewDrain(2000, 7), same(`[null,null,"chime","drain",{"retry_ms":2000,"received":7}]`)},
		{"a closed", wire.NewClosed(wire.CloseDrain, "<\"drain\">\n"), same(`[null,null,"chime","closed",{"code":1012,"reason":"<\"drain\">\n"}]`)},
		{"hello", wire.Hello{ID: "i", Secret: "s", HeartbeatMS: 1, Limits: wire.HelloLimits{MessageBytes: 2, BatchBytes: 3, BatchMessages: 4, Topics: 5}, Transports: []string{"sse"}, Received: 6, Sent: 7}.Message(),
			same(`[null,null,"chime","hello",{"id":"i","secret":"s","heartbeat_ms":1,"grace_ms":0,"limits":{"message_bytes":2,"batch_bytes":3,"batch_messages":4,"topics":5},"transports":["sse"],"resumed":false,"received":6,"sent":7}]`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, want := range []string{tt.want.phoenix, tt.want.positioned, tt.want.joined} {
				if !json.Valid([]byte(want)) {
					t.Fatalf("the test wants %s, which is no JSON", want)
				}
			}
			check := func(form, got, want string) {
				t.Helper()
				if got != want {
					t.Errorf("%s:\ngot  %s\nwant %s", form, got, want)
				}
			}
			check("Phoenix", string(tt.m.AppendText(nil, false, "")), tt.want.phoenix)
			check("chime", string(tt.m.AppendText(nil, true, "")), tt.want.positioned)
			check("chime, join asked", string(tt.m.AppendText(nil, true, "jr")), tt.want.positioned)
			check("Phoenix, join asked", string(tt.m.AppendText(nil, false, "jr")), tt.want.joined)
			for range 2 { // made, then shared
				check("Phoenix on a WebSocket", text(t, tt.m.AppendWebSocket(nil, false, "")), tt.want.phoenix)
				check("chime on a WebSocket", text(t, tt.m.AppendWebSocket(nil, true, "")), tt.want.positioned)
				check("chime on a WebSocket, join asked", text(t, tt.m.AppendWebSocket(nil, true, "jr")), tt.want.positioned)
				check("Phoenix on a WebSocket, join asked", text(t, tt.m.AppendWebSocket(nil, false, "jr")), tt.want.joined)
				check("Phoenix in a string", unquoted(t, tt.m.AppendQuoted([]byte(","), "")), tt.want.phoenix)
				check("Phoenix in a string, join asked", unquoted(t, tt.m.AppendQuoted([]byte(","), "jr")), tt.want.joined)
				check("Phoenix in a string, a join with escapes", unquoted(t, tt.m.AppendQuoted([]byte(","), "\"é\n")),
					string(tt.m.AppendText(nil, false, "\"é\n")))
				check("Phoenix V1 in a string", unquoted(t, tt.m.AppendV1Quoted([]byte(","))), text(t, tt.m.AppendV1(nil)))
				check("event", string(tt.m.AppendEvent([]byte("before\n"))), "before\ndata: "+tt.want.positioned+"\n\n")
			}
		})
	}
}

// unquoted returns what a JSON string behind a comma says.
func unquoted(t testing.TB, b []byte) (s string) {
	t.Helper()
	if err := json.Unmarshal(bytes.TrimPrefix(b, []byte(",")), &s); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return s
}

// text returns what a WebSocket frame holds, which must be one text frame.
func text(t testing.TB, b []byte) string {
	t.Helper()
	opcode, payload, rest := webSocketFrame(t, b)
	if opcode != 1 || len(rest) > 0 || !utf8.Valid(payload) {
		t.Fatalf("got opcode %d, %d bytes behind the frame and %q, want one text frame", opcode, len(rest), payload)
	}
	return string(payload)
}

// webSocketFrame splits an unmasked frame off b, and fails unless its header is
// the shortest that RFC 6455 allows.
func webSocketFrame(t testing.TB, b []byte) (opcode byte, payload, rest []byte) {
	t.Helper()
	if len(b) < 2 || b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 {
		t.Fatalf("got %x, want FIN, no reserved bits and no mask", b[:min(len(b), 14)])
	}
	n, header, least := uint64(b[1]), 2, uint64(0)
	switch n {
	case 126:
		n, header, least = uint64(binary.BigEndian.Uint16(b[2:])), 4, 126
	case 127:
		n, header, least = binary.BigEndian.Uint64(b[2:]), 10, 1<<16
	}
	if n < least || n > uint64(len(b)-header) {
		t.Fatalf("got a length of %d in a header of %d bytes and %d bytes behind it", n, header, len(b)-header)
	}
	return b[0] & 0x0f, b[header:][:n], b[header+int(n):]
}

func TestWebSocketHeaders(t *testing.T) {
	const around = len(`[null,null,"t","e",{"a":""}]`)
	for length, header := range map[int]string{
		around: "\x81\x1c",
		125:    "\x81\x7d",
		126:    "\x81\x7e\x00\x7e",
		127:    "\x81\x7e\x00\x7f",
		65535:  "\x81\x7e\xff\xff",
		65536:  "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
		70000:  "\x81\x7f\x00\x00\x00\x00\x00\x01\x11\x70",
	} {
		payload := `{"a":"` + strings.Repeat("x", length-around) + `"}`
		m := wire.NewPush("t", "e", []byte(payload), 0)
		want := header + `[null,null,"t","e",` + payload + `]`
		if got := string(m.AppendWebSocket([]byte("before"), false, "")); got != "before"+want {
			t.Errorf("a text of %d bytes: got %q…, want %q…", length, got[:min(len(got), 20)], want[:20])
		}
	}
}

// A join that asked for positions gets a frame of its own around what is shared.
func TestWebSocketHeadersOfAFrameOfItsOwn(t *testing.T) {
	const around = len(`["jr","@1","t","e",{"a":""}]`)
	for _, length := range []int{around, 125, 126, 65535, 65536} {
		payload := `{"a":"` + strings.Repeat("x", length-around) + `"}`
		m := wire.NewPush("t", "e", []byte(payload), 1)
		want := `["jr","@1","t","e",` + payload + `]`
		b := m.AppendWebSocket([]byte("before"), false, "jr")
		if got := text(t, bytes.TrimPrefix(b, []byte("before"))); got != want {
			t.Errorf("a text of %d bytes: got %.40q…, want %.40q…", length, got, want)
		}
	}
}

func TestFormsOfBinaryMessages(t *testing.T) {
	data := []byte{0, 255, '\n', '"'}
	const encoded = `{"@binary":"AP8KIg=="}`
	broadcast := wire.NewBinaryPush("topic", "event", data, 42)
	tests := []struct {
		name, to string
		m        *wire.Message
		binary   string // on a WebSocket of the Phoenix dialect
		text     string // in the chime dialect
	}{
		{"a broadcast", "", broadcast, "\x02\x05\x05topicevent" + string(data), `[null,"@42","topic","event",` + encoded + `]`},
		{"what is not retained, to a join that asked", "jr", wire.NewBinaryPush("topic", "event", data, 0),
			"\x02\x05\x05topicevent" + string(data), `[null,null,"topic","event",` + encoded + `]`},
		{"a push to one", "", wire.NewBinaryPush("topic", "event", data, 0).WithRefs(wire.RefOf("12"), wire.Ref{}),
			"\x00\x02\x05\x0512topicevent" + string(data), `["12",null,"topic","event",` + encoded + `]`},
		{"a push to one with an empty join_ref", "", wire.NewBinaryPush("topic", "event", data, 0).WithRefs(wire.RefOf(""), wire.Ref{}),
			"\x00\x00\x05\x05topicevent" + string(data), `["",null,"topic","event",` + encoded + `]`},
		{"no data", "", wire.NewBinaryPush("t", "e", nil, 0), "\x02\x01\x01te", `[null,null,"t","e",{"@binary":""}]`},
		{"names of 255 bytes", "", wire.NewBinaryPush(strings.Repeat("t", 255), strings.Repeat("e", 255), data, 0),
			"\x02\xff\xff" + strings.Repeat("t", 255) + strings.Repeat("e", 255) + string(data),
			`[null,null,"` + strings.Repeat("t", 255) + `","` + strings.Repeat("e", 255) + `",` + encoded + `]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opcode, got, rest := webSocketFrame(t, tt.m.AppendWebSocket(nil, false, tt.to))
			if opcode != 2 || string(got) != tt.binary || len(rest) > 0 {
				t.Errorf("Phoenix: got opcode %d and %q, want 2 and %q", opcode, got, tt.binary)
			}
			if got := text(t, tt.m.AppendWebSocket(nil, true, tt.to)); got != tt.text {
				t.Errorf("chime: got %s, want %s", got, tt.text)
			}
			if got, want := string(tt.m.AppendEvent(nil)), "data: "+tt.text+"\n\n"; got != want {
				t.Errorf("event: got %q, want %q", got, want)
			}
		})
	}
}

// A binary frame has no place for a position, and without one a client gets the
// same bytes again after each break.
func TestRetainedBytesHaveTheirPositionForAJoinThatAsked(t *testing.T) {
	m := wire.NewBinaryPush("topic", "event", []byte{0, 255, '\n', '"'}, 42)
	for range 2 { // made, then shared
		for _, joinRef := range []string{"1", "22"} {
			want := `["` + joinRef + `","@42","topic","event",{"@binary":"AP8KIg=="}]`
			if got := text(t, m.AppendWebSocket(nil, false, joinRef)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		if opcode, _, _ := webSocketFrame(t, m.AppendWebSocket(nil, false, "")); opcode != 2 {
			t.Errorf("to a join that did not ask: got opcode %d, want bytes", opcode)
		}
	}
}

func TestWithRefsLeavesTheMessageAlone(t *testing.T) {
	m := wire.NewPush("t", "e", []byte(`{}`), 7)
	before := string(m.AppendWebSocket(nil, true, ""))
	own := m.WithRefs(wire.RefOf("1"), wire.Ref{})
	if got, want := text(t, own.AppendWebSocket(nil, false, "")), `["1",null,"t","e",{}]`; got != want {
		t.Errorf("the copy: got %s, want %s", got, want)
	}
	if own.Offset != 7 || own.Topic != "t" || own.Event != "e" {
		t.Errorf("the copy: got %q %q %d, want the names and the offset of the message", own.Topic, own.Event, own.Offset)
	}
	if got := string(m.AppendWebSocket(nil, true, "")); got != before {
		t.Errorf("the message: got %q, want %q as before", got, before)
	}
}

func TestAMessageIsCountedByItsTopic(t *testing.T) {
	if wire.NewHeartbeat(1, 0).Counted() {
		t.Error("a heartbeat: got counted, want not")
	}
	if !wire.NewPush("room:1", "e", []byte("{}"), 0).Counted() {
		t.Error("a push: got not counted, want it to be")
	}
}

func TestSizeGrowsWithWhatAMessageHolds(t *testing.T) {
	small, large := wire.NewPush("t", "e", []byte(`{}`), 0), wire.NewPush("t", "e", make([]byte, 10_000), 0)
	if small.Size() < 4 || large.Size() < 10_000 || large.Size() > 11_000 {
		t.Errorf("got %d and %d, want about 2 and 10,000 bytes", small.Size(), large.Size())
	}
}

func TestFormsMadeAtOnceAreTheSame(t *testing.T) {
	const readers = 8
	for range 100 {
		m := wire.NewPush("room:1", "msg", []byte(`{"a":1}`), 42)
		start := make(chan struct{})
		var got [readers]string
		var wg sync.WaitGroup
		for i := range readers {
			wg.Go(func() {
				<-start
				b := m.AppendWebSocket(nil, i%2 == 0, "")
				b = m.AppendWebSocket(b, i%2 == 1, "")
				b = m.AppendWebSocket(b, false, "jr")
				got[i] = string(m.AppendEvent(b))
			})
		}
		close(start)
		wg.Wait()
		for i := range readers {
			if got[i] != got[i%2] {
				t.Fatalf("reader %d got %q, want %q", i, got[i], got[i%2])
			}
		}
	}
}

// A reader of a form's bytes must not be able to change those of the others.
func TestAppendedBytesAreACopy(t *testing.T) {
	m := wire.NewPush("t", "e", []byte(`{}`), 1)
	for _, form := range []func([]byte) []byte{
		func(b []byte) []byte { return m.AppendWebSocket(b, false, "") },
		func(b []byte) []byte { return m.AppendWebSocket(b, true, "") },
		func(b []byte) []byte { return m.AppendWebSocket(b, false, "jr") },
		m.AppendEvent,
		m.AppendV1,
		m.AppendAmber,
		m.AppendV1Quoted,
		func(b []byte) []byte { return m.AppendQuoted(b, "") },
		func(b []byte) []byte { return m.AppendQuoted(b, "jr") },
	} {
		want := string(form(nil))
		b := form(nil)
		clear(b)
		_ = append(b, "more"...)
		if got := string(form(nil)); got != want {
			t.Errorf("after another reader wrote into its bytes: got %q, want %q", got, want)
		}
	}
}

func TestAppendClose(t *testing.T) {
	tests := []struct {
		name   string
		code   wire.CloseCode
		reason string
		want   string
	}{
		{"a code and a reason", wire.CloseDrain, "drain", "\x88\x07\x03\xf4drain"},
		{"no reason", wire.CloseNormal, "", "\x88\x02\x03\xe8"},
		{"a code of ours", wire.CloseRefused, "no", "\x88\x04\x0f\xa3no"},
		{"no code", wire.CloseNoStatus, "not said", "\x88\x00"},
		{"the longest reason", wire.CloseSlow, strings.Repeat("x", 123), "\x88\x7d\x03\xf5" + strings.Repeat("x", 123)},
		{"a reason too long", wire.CloseSlow, strings.Repeat("x", 124), "\x88\x7d\x03\xf5" + strings.Repeat("x", 123)},
		{"2 bytes a rune", wire.CloseSlow, strings.Repeat("é", 100), "\x88\x7c\x03\xf5" + strings.Repeat("é", 61)},
		{"3 bytes a rune", wire.CloseSlow, strings.Repeat("日", 100), "\x88\x7d\x03\xf5" + strings.Repeat("日", 41)},
		{"4 bytes a rune", wire.CloseSlow, strings.Repeat("🎈", 100), "\x88\x7a\x03\xf5" + strings.Repeat("🎈", 30)},
		{"4 bytes a rune behind 3", wire.CloseSlow, "xxx" + strings.Repeat("🎈", 100), "\x88\x7d\x03\xf5xxx" + strings.Repeat("🎈", 30)},
		{"a bad byte", wire.CloseDisconnect, "bye\xff", "\x88\x08\x03\xe9bye\ufffd"},
		{"nothing but bad bytes", wire.CloseDisconnect, strings.Repeat("\x80", 200), "\x88\x05\x03\xe9\ufffd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(wire.AppendClose([]byte("before"), tt.code, tt.reason))
			if got != "before"+tt.want {
				t.Errorf("got %q, want %q", got, "before"+tt.want)
			}
			if _, payload, _ := webSocketFrame(t, []byte(got)[len("before"):]); len(payload) > 125 || len(payload) > 2 && !utf8.Valid(payload[2:]) {
				t.Errorf("got %q in %d bytes, want valid UTF-8 in at most 125", payload, len(payload))
			}
		})
	}
}

// Up to 500 are kept of each topic, and made anew for the first join: what is only for one
// client must not count there. 96 bytes are what Go's allocator gives for a few less.
func TestAMessageForAllHasNoRoomForWhatIsOneClients(t *testing.T) {
	if got := reflect.TypeFor[wire.Message]().Size(); got > 96 {
		t.Errorf("a message is %d bytes, want at most 96", got)
	}
}
