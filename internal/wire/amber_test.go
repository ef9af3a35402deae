package wire_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-chime/chime/internal/wire"
)

func TestDecodeAmber(t *testing.T) {
	tests := []struct {
		name, text string
		want       wire.Frame
	}{
		{"a join", `{"event":"join","topic":"chat_room:1"}`, frame("", "", "chat_room:1", "phx_join", `{}`)},
		{"a join with a payload", `{"event":"join","topic":"chat_room:1","payload":{"name":"Ada"}}`, frame("", "", "chat_room:1", "phx_join", `{"name":"Ada"}`)},
		{"a leave", `{"event":"leave","topic":"chat_room:1"}`, frame("", "", "chat_room:1", "phx_leave", `{}`)},
		{"a message", `{"event":"message","topic":"chat_room:1","subject":"message_new","payload":{"a":[1]}}`, frame("", "", "chat_room:1", "message_new", `{"a":[1]}`)},
		{"a message without a payload", `{"event":"message","topic":"t","subject":"s"}`, frame("", "", "t", "s", `{}`)},
		{"a payload that is null", `{"event":"message","topic":"t","subject":"s","payload":null}`, frame("", "", "t", "s", `null`)},
		{"a payload over several lines", "{\"event\":\"message\",\"topic\":\"t\",\"subject\":\"s\",\"payload\":{\r\n\"a\" : 1}}", frame("", "", "t", "s", `{"a":1}`)},
		{"a subject in a join", `{"event":"join","topic":"t","subject":7}`, frame("", "", "t", "phx_join", `{}`)},
		{"keys that are not known", `{"event":"message","topic":"t","subject":"s","payload":{},"ref":7,"Topic":"u"}`, frame("", "", "t", "s", `{}`)},
		{"escapes", `{"\u0065vent":"\u006aoin","topic":"caf\u00e9"}`, frame("", "", "café", "phx_join", `{}`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkDecodes(t, wire.DecodeAmber, tt.text, tt.want) })
	}
}

func TestDecodeAmberRefuses(t *testing.T) {
	const unknown = "want join, leave or message"
	tests := []struct{ name, text, want string }{
		{"nothing", "", "frame is not valid JSON"},
		{"the heartbeat sent back", "ping", "frame is not valid JSON"},
		{"cut off", `{"event":"join"`, "frame is not valid JSON"},
		{"a bad byte", "{\"event\":\"join\",\"topic\":\"\xff\"}", "frame is not valid UTF-8"},
		{"a frame of Phoenix", `["1","1","t","phx_join",{}]`, "frame is not an object"},
		{"null", `null`, "frame is not an object"},
		{"no event", `{"topic":"t"}`, "frame has no event"},
		{"no topic", `{"event":"join"}`, "frame has no topic"},
		{"no subject", `{"event":"message","topic":"t","payload":{}}`, "frame has no subject"},
		{"event a number", `{"event":1,"topic":"t"}`, "frame has an event that is no string"},
		{"topic a list", `{"event":"leave","topic":["t"]}`, "frame has a topic that is no string"},
		{"subject null", `{"event":"message","topic":"t","subject":null,"payload":{}}`, "frame has a subject that is no string"},
		{"bytes that are no base64", `{"event":"message","topic":"t","subject":"s","payload":{"@binary":"%"}}`, "frame has a malformed @binary"},
		{"an unknown event", `{"event":"subscribe","topic":"t"}`, `frame has the event "subscribe": ` + unknown},
		{"an event in capitals", `{"event":"Join","topic":"t"}`, `frame has the event "Join": ` + unknown},
		{"an event of Phoenix", `{"event":"phx_join","topic":"t"}`, `frame has the event "phx_join": ` + unknown},
		{"an event without a name", `{"event":"","topic":"t"}`, `frame has the event "": ` + unknown},
		{"a join in disguise", `{"event":"message","topic":"t","subject":"phx_join","payload":{}}`, "frame has the subject phx_join: want one that is not Phoenix's"},
		{"a leave in disguise", `{"event":"message","topic":"t","subject":"phx_leave","payload":{}}`, "frame has the subject phx_leave: want one that is not Phoenix's"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkRefuses(t, wire.DecodeAmber, tt.text, tt.want) })
	}
}

// What is logged of a client's nonsense is bounded, and no line of it is broken.
func TestDecodeAmberDoesNotRepeatMuchOfWhatItRefuses(t *testing.T) {
	_, err := wire.DecodeAmber([]byte(`{"event":"\n` + strings.Repeat("é", 5000) + `","topic":"t"}`))
	if err == nil || len(err.Error()) > 400 || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q, want an error of one short line", err)
	}
}

func FuzzDecodeAmber(f *testing.F) {
	f.Add([]byte(`{"event":"join","topic":"chat_room:1"}`))
	f.Add([]byte(`{"event":"leave","topic":"chat_room:1","payload":[]}`))
	f.Add([]byte(`{"event":"message","topic":"chat_room:1","subject":"message_new","payload":{"a":1}}`))
	f.Add([]byte(`{"event":"message","topic":"t","subject":"s","payload":{"@binary":"AP8="}}`))
	f.Add([]byte(`{"event":"message","topic":"\ud800","subject":"phx_join"}`))
	f.Add([]byte(`{"event":7,"topic":null,"subject":{}}`))
	f.Add([]byte("ping"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzObject(t, data, wire.DecodeAmber, func(fields map[string]any, frame wire.Frame) {
			want := map[any]any{"join": "phx_join", "leave": "phx_leave", "message": fields["subject"]}[fields["event"]]
			if frame.Event != want || frame.Topic != fields["topic"] || !frame.Ref.Null() || !frame.JoinRef.Null() {
				t.Fatalf("got %s of %q", describe(frame), data)
			}
			if fields["event"] == "message" && (want == "phx_join" || want == "phx_leave") {
				t.Fatalf("got %s of %q, want it refused", describe(frame), data)
			}
		})
	})
}

// fuzzObject decodes a frame that is an object. What is no object of JSON must
// be refused; the fields of what is taken are given to check.
func fuzzObject(t *testing.T, data []byte, decode func([]byte) (wire.Frame, error), check func(map[string]any, wire.Frame)) {
	t.Helper()
	before := bytes.Clone(data)
	frame, err := decode(data)
	if !bytes.Equal(data, before) {
		t.Fatal("decoding has changed its input")
	}
	if err != nil {
		if !reflect.DeepEqual(frame, wire.Frame{}) {
			t.Fatalf("got %s with the error, want no frame", describe(frame))
		}
		return
	}
	checkDecoded(t, frame)
	var raw map[string]json.RawMessage
	if !utf8.Valid(data) || json.Unmarshal(data, &raw) != nil {
		t.Fatalf("got %s of %q, want it refused", describe(frame), data)
	}
	fields := map[string]any{}
	for key, text := range raw {
		var v any
		_ = json.Unmarshal(text, &v) // a number beyond float64 is nobody's name
		fields[key] = v
	}
	check(fields, frame)
}
