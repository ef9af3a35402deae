package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/wire"
)

// plain is what encoding/json makes of a string when it may leave HTML alone.
func plain(t testing.TB, s string) string {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(buf.String(), "\n")
}

func TestAppendStringIsWhatEncodingJSONWrites(t *testing.T) {
	list := []string{
		"", "room:1", `"`, `\`, `\"\\`, "<b>&amp;</b>", "/", "'",
		"é", "日本語", "🎈", "\u00a0", "\u2028\u2029", "\ufeff", "\ufffd",
		"\xff", "a\xc3", "日本"[:4], "\xed\xa0\x80", "\xf4\x90\x80\x80", "ok\xfe\xffok",
		strings.Repeat("x", 10_000), strings.Repeat("\x00", 300),
	}
	for c := range 256 {
		list = append(list, string([]byte{byte(c)}), "a"+string([]byte{byte(c)})+"b", string(rune(c)))
	}
	for _, s := range list {
		if got, want := string(wire.AppendString([]byte("before "), s)), "before "+plain(t, s); got != want {
			t.Errorf("AppendString(%q): got %q, want %q", s, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "room:1", "<&>\"\\", "\x00\x1f\x7f", "é\u2028🎈", "\xff\xc3("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := string(wire.AppendString(nil, s)), plain(t, s); got != want {
			t.Errorf("AppendString(%q): got %q, want %q", s, got, want)
		}
	})
}

// speaks encodes itself as whatever it holds.
type speaks string

func (s speaks) MarshalJSON() ([]byte, error) { return []byte(s), nil }

type mute struct{}

var errMute = errors.New("no words")

func (mute) MarshalJSON() ([]byte, error) { return nil, errMute }

func TestEncodeValue(t *testing.T) {
	type post struct {
		Name string          `json:"name"`
		Raw  json.RawMessage `json:"raw,omitempty"`
	}
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"nil", nil, `{}`},
		{"a nil map", map[string]any(nil), `{}`},
		{"a nil pointer", (*post)(nil), `{}`},
		{"a struct", post{Name: "<Ada> & \"co\""}, `{"name":"<Ada> & \"co\""}`},
		{"a map", map[string]int{"b": 2, "a": 1}, `{"a":1,"b":2}`},
		{"a string", "x\r\ny", `"x\r\ny"`},
		{"a number", 1.5, `1.5`},
		{"a list", []int{1, 2}, `[1,2]`},
		{"a string with a bad byte", "a\xff", "\"a\\ufffd\""},
		{"raw", json.RawMessage(`{"a":1}`), `{"a":1}`},
		{"raw with spaces", json.RawMessage(`{ "a" : 1 } `), `{ "a" : 1 } `},
		{"raw over two lines", json.RawMessage("{ \"a\":\n\"x\\ny\" }"), `{"a":"x\ny"}`},
		{"raw with CR", json.RawMessage("[1,\r2]"), `[1,2]`},
		{"raw behind a space", json.RawMessage(" {}"), `{}`},
		{"raw behind a tab", json.RawMessage("\t{}"), `{}`},
		{"raw and empty", json.RawMessage(nil), `{}`},
		{"raw null", json.RawMessage("null"), `null`},
		{"raw inside a struct", post{Raw: json.RawMessage("[1,\n2]")}, `{"name":"","raw":[1,2]}`},
		{"raw behind a pointer", new(json.RawMessage("[1,\n2]")), `[1,2]`},
		{"an encoder over two lines", speaks("{\r\n}"), `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.EncodeValue(tt.value)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %q and error %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestEncodeValueRefuses(t *testing.T) {
	for name, value := range map[string]any{
		"a channel":                        make(chan int),
		"NaN":                              math.NaN(),
		"raw that is no JSON":              json.RawMessage(`{"a":}`),
		"raw cut off":                      json.RawMessage(`{"a":"`),
		"raw of two values":                json.RawMessage(`{}{}`),
		"raw with a bad byte":              json.RawMessage("{\"a\":\"\xff\"}"),
		"raw with a bad byte, in a struct": struct{ A json.RawMessage }{json.RawMessage("\"\xff\"")},
		"raw with a raw LF in a string":    json.RawMessage("{\"a\":\"\n\"}"),
		"raw 20,000 deep":                  json.RawMessage(nested(20000)),
		"an encoder with a bad byte":       speaks("\"\xff\""),
		"an encoder of no JSON":            speaks("hello"),
		"an encoder that fails":            mute{},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := wire.EncodeValue(value); err == nil {
				t.Errorf("got %q, want an error", got)
			}
		})
	}
	if _, err := wire.EncodeValue(mute{}); !errors.Is(err, errMute) {
		t.Errorf("an encoder's error: got %v, want it wrapped", err)
	}
}

func TestEncodeObject(t *testing.T) {
	for name, value := range map[string]any{
		"a string":   "x",
		"a number":   7,
		"a list":     []int{},
		"a nil list": json.RawMessage("null"),
		"true":       true,
		"raw list":   json.RawMessage(" [1]"),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := wire.EncodeObject(value); !errors.Is(err, wire.ErrNoObject) {
				t.Errorf("got %q and error %v, want ErrNoObject", got, err)
			}
		})
	}
	for _, value := range []any{nil, struct{}{}, json.RawMessage("\n{ }"), map[string]int(nil)} {
		if got, err := wire.EncodeObject(value); err != nil || string(got) != "{}" {
			t.Errorf("EncodeObject(%#v): got %q and error %v, want {}", value, got, err)
		}
	}
	if _, err := wire.EncodeObject(math.Inf(1)); err == nil || errors.Is(err, wire.ErrNoObject) {
		t.Errorf("what can't be encoded: got %v, want encoding/json's error", err)
	}
}
