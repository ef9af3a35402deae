package wire_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/wire"
)

func TestDecodeV1(t *testing.T) {
	emptyRef := frame("", "", "room:lobby", "phx_join", "null")
	emptyRef.Ref, emptyRef.JoinRef = wire.RefOf(""), wire.RefOf("")
	tests := []struct {
		name, text string
		want       wire.Frame
	}{
		{"a push", `{"topic":"room:1","event":"msg","payload":{"a":1},"ref":"2"}`, frame("", "2", "room:1", "msg", `{"a":1}`)},
		{"with a join_ref", `{"join_ref":"1","ref":"2","topic":"t","event":"e","payload":{}}`, frame("1", "2", "t", "e", `{}`)},
		{"a join_ref that is null", `{"join_ref":null,"ref":"2","topic":"t","event":"e","payload":{}}`, frame("", "2", "t", "e", `{}`)},
		{"no ref", `{"topic":"t","event":"e","payload":{},"ref":null}`, frame("", "", "t", "e", `{}`)},
		{"the join of a benchmark", `{"topic":"room:lobby","event":"phx_join","payload":null,"ref":""}`, emptyRef},
		{"a join, known by its ref", `{"topic":"room:1","event":"phx_join","payload":{},"ref":"2"}`, frame("2", "2", "room:1", "phx_join", `{}`)},
		{"a join with a join_ref", `{"topic":"room:1","event":"phx_join","payload":{},"ref":"2","join_ref":"1"}`, frame("1", "2", "room:1", "phx_join", `{}`)},
		{"a join without refs", `{"topic":"room:1","event":"phx_join","payload":{},"ref":null}`, frame("", "", "room:1", "phx_join", `{}`)},
		{"keys that are not known", `{"topic":"t","event":"e","payload":{},"ref":"2","status":"ok","Topic":"u","":[]}`, frame("", "2", "t", "e", `{}`)},
		{"spaces everywhere", " {\n \"topic\" : \"t\" ,\t\"event\" : \"e\" , \"payload\" : {\r\n} , \"ref\" : \"2\" } ", frame("", "2", "t", "e", `{}`)},
		{"escapes", `{"\u0074opic":"caf\u00e9","event":"\"","payload":{"a":"\u2028"},"ref":"\\"}`, frame("", `\`, "café", `"`, `{"a":"\u2028"}`)},
		{"a payload that is a list", `{"topic":"t","event":"e","payload":[1,[2]],"ref":"2"}`, frame("", "2", "t", "e", `[1,[2]]`)},
		{"bytes", `{"topic":"t","event":"e","payload":{"@binary":"AAEC/w=="},"ref":"2"}`, binaryFrame("", "2", "t", "e", []byte{0, 1, 2, 255})},
		{"the last of two", `{"topic":"t","event":"e","payload":{},"ref":"2","topic":"u"}`, frame("", "2", "u", "e", `{}`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkDecodes(t, wire.DecodeV1, tt.text, tt.want) })
	}
}

// checkDecodes wants a frame, and that it does not share memory with its text.
func checkDecodes(t *testing.T, decode func([]byte) (wire.Frame, error), text string, want wire.Frame) {
	t.Helper()
	data := []byte(text)
	got, err := decode(data)
	if err != nil {
		t.Fatalf("got error %q, want none", err)
	}
	for i := range data {
		data[i] = 'x'
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %s\nwant %s", describe(got), describe(want))
	}
}

// checkRefuses wants an error, and no part of a frame with it.
func checkRefuses(t *testing.T, decode func([]byte) (wire.Frame, error), text, want string) {
	t.Helper()
	f, err := decode([]byte(text))
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %s and error %v, want error %q", describe(f), err, want)
	}
	if !reflect.DeepEqual(f, wire.Frame{}) {
		t.Errorf("got %s with the error, want no frame", describe(f))
	}
}

func TestDecodeV1Refuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"nothing", "", "frame is not valid JSON"},
		{"no JSON", "hello", "frame is not valid JSON"},
		{"cut off", `{"topic":"t","event":"e","payload":{},"ref":"2"`, "frame is not valid JSON"},
		{"two frames", `{}{}`, "frame is not valid JSON"},
		{"20,000 deep", `{"topic":"t","event":"e","ref":"2","payload":` + nested(20_000) + `}`, "frame is not valid JSON"},
		{"a bad byte", "{\"topic\":\"\xff\",\"event\":\"e\",\"payload\":{},\"ref\":\"2\"}", "frame is not valid UTF-8"},
		{"a frame of V2", `["1","2","t","e",{}]`, "frame is not an object"},
		{"null", `null`, "frame is not an object"},
		{"a string", `"topic"`, "frame is not an object"},

		{"nothing in it", `{}`, "frame has no topic"},
		{"no topic", `{"event":"e","payload":{},"ref":"2"}`, "frame has no topic"},
		{"no event", `{"topic":"t","payload":{},"ref":"2"}`, "frame has no event"},
		{"no payload", `{"topic":"t","event":"e","ref":"2"}`, "frame has no payload"},
		{"no ref", `{"topic":"t","event":"e","payload":{}}`, "frame has no ref"},
		{"keys in capitals", `{"TOPIC":"t","EVENT":"e","PAYLOAD":{},"REF":"2"}`, "frame has no topic"},

		{"topic null", `{"topic":null,"event":"e","payload":{},"ref":"2"}`, "frame has a topic that is no string"},
		{"event a number", `{"topic":"t","event":7,"payload":{},"ref":"2"}`, "frame has an event that is no string"},
		{"ref a number", `{"topic":"t","event":"e","payload":{},"ref":2}`, "frame has a ref that is no string"},
		{"join_ref a list", `{"topic":"t","event":"e","payload":{},"ref":"2","join_ref":["1"]}`, "frame has a join_ref that is no string"},
		{"bytes that are no base64", `{"topic":"t","event":"e","payload":{"@binary":"%"},"ref":"2"}`, "frame has a malformed @binary"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkRefuses(t, wire.DecodeV1, tt.text, tt.want) })
	}
}

func FuzzDecodeV1(f *testing.F) {
	f.Add([]byte(`{"topic":"room:1","event":"msg","payload":{"a":1},"ref":"2","join_ref":null}`))
	f.Add([]byte(`{"topic":"room:lobby","event":"phx_join","payload":null,"ref":""}`))
	f.Add([]byte(" {\n \"topic\" : \"\\ud800\" ,\t\"event\" : \"e\" , \"payload\" : {\r\n} , \"ref\" : \"2\" } "))
	f.Add([]byte(`{"topic":"t","event":"e","payload":{"@binary":"AAEC\/w=="},"ref":null}`))
	f.Add([]byte(`{"topic":"t","event":"e","payload":[],"ref":1,"topic":null}`))
	f.Add([]byte("{\"topic\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzObject(t, data, wire.DecodeV1, func(fields map[string]any, frame wire.Frame) {
			if frame.Event == wire.EventJoin && fields["join_ref"] == nil {
				fields["join_ref"] = fields["ref"]
			}
			for key, got := range map[string]any{
				"topic": frame.Topic, "event": frame.Event, "ref": ref(frame.Ref), "join_ref": ref(frame.JoinRef),
			} {
				if want, ok := fields[key]; got != want || !ok && key != "join_ref" {
					t.Fatalf("%s: got %v, want %v", key, got, want)
				}
			}
		})
	})
}
