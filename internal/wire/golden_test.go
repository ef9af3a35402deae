package wire_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-chime/chime/internal/wire"
)

// written are the messages of testdata/messages.golden.
func written() map[string]*wire.Message {
	joinRef, ref, null := wire.RefOf("12"), wire.RefOf("123"), wire.Ref{}
	history := &wire.History{Epoch: "e", Offset: 41}
	a, empty, bytes := []byte(`{"a":1}`), []byte(`{}`), []byte("efg")
	return map[string]*wire.Message{
		"a broadcast":          wire.NewPush("room:1", "msg", a, 0),
		"a retained broadcast": wire.NewPush("room:1", "msg", a, 42),
		"a push":               wire.NewPush("room:1", "msg", a, 0).WithRefs(joinRef, null),
		"names with HTML, quotes and other scripts": wire.NewPush(`room:<b>"é"`, `a\b&комната`, empty, 0),

		"a reply":                        wire.NewReply(joinRef, ref, "room:1", "ok", a),
		"an error":                       wire.NewReply(null, ref, "room:1", "error", []byte(`{"reason":"unmatched topic"}`)),
		"the reply to a join":            wire.NewJoinReply(joinRef, joinRef, "room:1", a, history, false),
		"the reply to a join that asked": wire.NewJoinReply(joinRef, joinRef, "room:1", a, history, true),
		"a close":                        wire.NewFrame(joinRef, joinRef, "room:1", wire.EventClose, empty),
		"a crash":                        wire.NewFrame(joinRef, joinRef, "room:1", wire.EventError, []byte(`{"reason":"channel_crash"}`)),
		"the answer to a heartbeat":      wire.NewReply(null, ref, wire.TopicPhoenix, "ok", empty),

		"a binary broadcast":                wire.NewBinaryPush("topic", "event", bytes, 0),
		"a retained binary broadcast":       wire.NewBinaryPush("topic", "event", bytes, 42),
		"a binary push":                     wire.NewBinaryPush("topic", "event", bytes, 0).WithRefs(joinRef, null),
		"a binary reply":                    wire.NewBinaryReply(joinRef, ref, "topic", bytes),
		"a binary reply without bytes":      wire.NewBinaryReply(joinRef, ref, "topic", nil),
		"a binary reply without a join_ref": wire.NewBinaryReply(null, ref, "topic", bytes),
	}
}

var dialects = map[string]func(*wire.Message) []byte{
	"v2":    func(m *wire.Message) []byte { return m.AppendWebSocket(nil, false, "") },
	"asked": func(m *wire.Message) []byte { return m.AppendWebSocket(nil, false, "12") },
	"chime": func(m *wire.Message) []byte { return m.AppendWebSocket(nil, true, "") },
	"v1":    func(m *wire.Message) []byte { return m.AppendV1(nil) },
	"amber": func(m *wire.Message) []byte { return m.AppendAmber(nil) },
}

func TestMessagesAreWrittenAsInTheGoldenFile(t *testing.T) {
	messages := written()
	for _, p := range golden(t, "testdata/messages.golden") {
		t.Run(p.name, func(t *testing.T) {
			m := messages[p.name]
			if m == nil || len(p.lines) != len(dialects) {
				t.Fatalf("got %d lines for a message that this test knows: %v; want %d", len(p.lines), m != nil, len(dialects))
			}
			for dialect, want := range p.lines {
				for range 2 { // made, then shared
					if got := shown(t, dialects[dialect](m)); got != want {
						t.Errorf("%s:\ngot  %s\nwant %s", dialect, got, want)
					}
				}
			}
		})
		delete(messages, p.name)
	}
	for name := range messages {
		t.Errorf("the golden file does not have %q", name)
	}
}

// shown is a WebSocket frame as the golden file shows it.
func shown(t *testing.T, b []byte) string {
	t.Helper()
	if len(b) == 0 {
		return "nothing"
	}
	opcode, payload, rest := webSocketFrame(t, b)
	switch {
	case len(rest) > 0:
		t.Fatalf("got %d bytes behind the frame, want one frame", len(rest))
	case opcode == 1 && utf8.Valid(payload):
		return string(payload)
	case opcode == 2:
		return fmt.Sprintf("% x", payload)
	}
	t.Fatalf("got opcode %d and %q, want text or bytes", opcode, payload)
	return ""
}

// paragraph is a name and lines with a word in front, in a golden file.
type paragraph struct {
	name  string
	lines map[string]string
}

func golden(t *testing.T, path string) []paragraph {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []paragraph
	in := false
	for line := range strings.SplitSeq(string(text), "\n") {
		switch {
		case line == "":
			in = false
		case strings.HasPrefix(line, "#"):
		case !in:
			list = append(list, paragraph{line, map[string]string{}})
			in = true
		default:
			word, rest, _ := strings.Cut(line, " ")
			list[len(list)-1].lines[word] = strings.TrimLeft(rest, " ")
		}
	}
	return list
}

// A binary reply has one byte for the length of each ref.
func TestBinaryReplyHasRoomForTheLongestRefs(t *testing.T) {
	most := wire.RefOf(strings.Repeat("r", 255))
	opcode, payload, _ := webSocketFrame(t, wire.NewBinaryReply(most, most, "t", []byte("efg")).AppendWebSocket(nil, false, ""))
	if want := "\x01\xff\xff\x01\x02" + strings.Repeat("r", 510) + "tokefg"; opcode != 2 || string(payload) != want {
		t.Errorf("got opcode %d and %.20q…, want bytes", opcode, payload)
	}
}

func TestAmberHeartbeatIsAText(t *testing.T) {
	opcode, payload, rest := webSocketFrame(t, wire.AmberHeartbeat)
	if opcode != 1 || string(payload) != "ping" {
		t.Errorf("got opcode %d %q, want the text ping", opcode, payload)
	}
	if opcode, payload, rest = webSocketFrame(t, rest); opcode != 9 || len(payload)+len(rest) > 0 {
		t.Errorf("got opcode %d with %d bytes, want a ping behind it", opcode, len(payload)+len(rest))
	}
}
