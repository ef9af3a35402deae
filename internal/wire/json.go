package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"
	"unicode/utf8"
)

// ErrNoObject says that a payload for clients is not a JSON object: several Phoenix
// clients drop anything else, or fail on it.
var ErrNoObject = errors.New("payload is not a JSON object")

var errUTF8 = errors.New("payload is not valid UTF-8")

// AppendString appends s as a JSON string. It escapes what JSON demands and nothing
// else, so no HTML characters: some clients compare topics as raw text.
func AppendString(b []byte, s string) []byte {
	if !plain(s) {
		return appendEscaped(b, s)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// plain reports whether s is in a JSON string as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func appendEscaped(b []byte, s string) []byte {
	text, err := marshal(s)
	if err != nil { // a string always encodes
		return append(b, `""`...)
	}
	return append(b, text...)
}

// encoder is json.Encoder with a buffer that is used again.
type encoder struct {
	text bytes.Buffer
	json *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.json = json.NewEncoder(&e.text)
	e.json.SetEscapeHTML(false)
	return e
}}

// maxSpare is the largest buffer that is used again.
const maxSpare = 64 << 10

func marshal(v any) ([]byte, error) {
	e := encoders.Get().(*encoder)
	if err := e.json.Encode(v); err != nil { // it has written nothing
		return nil, err
	}
	text := bytes.Clone(bytes.TrimSuffix(e.text.Bytes(), []byte("\n")))
	if e.text.Reset(); e.text.Cap() <= maxSpare {
		encoders.Put(e)
	}
	return text, nil
}

// EncodeValue encodes v as JSON in one line of valid UTF-8. Nil becomes {}.
func EncodeValue(v any) ([]byte, error) {
	if v == nil {
		return []byte("{}"), nil
	}
	if raw, ok := v.(json.RawMessage); ok {
		return cleanRaw(raw)
	}
	text, err := marshal(v)
	if err != nil {
		return nil, err
	}
	// A json.RawMessage inside v was checked to be JSON, but not to be UTF-8.
	if !utf8.Valid(text) {
		return nil, errUTF8
	}
	if string(text) == "null" { // a nil map or pointer
		return []byte("{}"), nil
	}
	return text, nil
}

// EncodeObject is EncodeValue for what must be a JSON object.
func EncodeObject(v any) ([]byte, error) {
	text, err := EncodeValue(v)
	if err == nil && text[0] != '{' {
		return nil, ErrNoObject
	}
	return text, err
}

// cleanRaw checks JSON that was not encoded here. A text with a raw line break is
// compacted: between two tokens that is valid JSON, but it would split an event of an
// event stream. Any other is returned as it is, not copied.
func cleanRaw(raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		return []byte("{}"), nil
	}
	if !utf8.Valid(raw) {
		return nil, errUTF8
	}
	if !json.Valid(raw) {
		return nil, errors.New("payload is not valid JSON")
	}
	return oneLine(raw), nil
}

// oneLine compacts valid JSON that has a CR or an LF, or begins with a space.
func oneLine(raw []byte) []byte {
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 && raw[0] > ' ' {
		return raw
	}
	text := make([]byte, 0, len(raw))
	for i := space(raw, 0); i < len(raw); i = space(raw, i) {
		end := i + 1
		if raw[i] == '"' {
			end = quoted(raw, i)
		}
		text = append(text, raw[i:end]...)
		i = end
	}
	return text
}
