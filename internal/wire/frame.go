package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Frame is one frame from a client: [join_ref, ref, topic, event, payload].
// It owns its memory.
type Frame struct {
	JoinRef, Ref Ref
	Topic, Event string
	Payload      json.RawMessage // any JSON in one line of valid UTF-8; nil for a binary payload
	Binary       []byte          // the payload of a binary frame, else nil
}

// Size is what f takes in memory, in bytes, about: all of it that a client can make large.
func (f *Frame) Size() int {
	return len(f.JoinRef.text) + len(f.Ref.text) + len(f.Topic) + len(f.Event) + len(f.Payload) + len(f.Binary)
}

var (
	errNotUTF8  = errors.New("frame is not valid UTF-8")
	errNotJSON  = errors.New("frame is not valid JSON")
	errNotArray = errors.New("frame is not an array")
	errShort    = errors.New("frame has fewer than 5 elements")
)

// Decode reads a frame from a text. As in Phoenix there may be more than five
// elements; the rest is ignored. Data may be reused afterwards.
func Decode(data []byte) (Frame, error) {
	if !utf8.Valid(data) {
		return Frame{}, errNotUTF8
	}
	var elements [5][]byte
	n, ok := scan(data, &elements)
	if !ok {
		return Frame{}, errNotJSON
	}
	return frameOf(data[space(data, 0)], n, &elements)
}

// frameOf makes a frame of a value that begins with a byte, and of the n elements it has.
func frameOf(begins byte, n int, elements *[5][]byte) (f Frame, err error) {
	switch {
	case begins != '[':
		return Frame{}, errNotArray
	case n < len(elements):
		return Frame{}, errShort
	}
	if f.JoinRef, err = decodeRef("join_ref", elements[0]); err != nil {
		return Frame{}, err
	}
	if f.Ref, err = decodeRef("ref", elements[1]); err != nil {
		return Frame{}, err
	}
	if f.Topic, err = decodeString("topic", elements[2]); err != nil {
		return Frame{}, err
	}
	if f.Event, err = decodeString("event", elements[3]); err != nil {
		return Frame{}, err
	}
	if f.Payload, f.Binary, err = decodePayload(elements[4]); err != nil {
		return Frame{}, err
	}
	return f, nil
}

func decodeRef(name string, b []byte) (Ref, error) {
	if string(b) == "null" {
		return Ref{}, nil
	}
	s, err := decodeString(name, b)
	if err == nil && len(s) > MaxName {
		// It comes back with each frame of its join: with a long one little from a
		// client would be much for the server to send.
		err = fmt.Errorf("frame has a %s of %d bytes: want at most %d", name, len(s), MaxName)
	}
	return RefOf(s), err
}

func decodeString(name string, b []byte) (string, error) {
	if b[0] != '"' {
		return "", fmt.Errorf("frame has %s that is no string", withArticle(name))
	}
	return unquote(b), nil
}

func withArticle(name string) string {
	if name == "event" {
		return "an event"
	}
	return "a " + name
}

// binaryKey is the only key of a binary payload in a text form:
// {"@binary":"<base64>"}.
const binaryKey = "@binary"

func decodePayload(b []byte) (json.RawMessage, []byte, error) {
	b = oneLine(b)
	text, ok := binaryText(b)
	if !ok {
		return bytes.Clone(b), nil, nil
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, nil, fmt.Errorf("frame has a malformed %s: %w", binaryKey, err)
	}
	return nil, data, nil
}

// binaryText returns the base64 of a binary payload, however its JSON is
// written: encoders differ in spaces, and some escape the slash.
func binaryText(b []byte) (string, bool) {
	if b[0] != '{' {
		return "", false
	}
	at := space(b, 1)
	if b[at] == '}' || !same(b[at:quoted(b, at)], binaryKey) {
		return "", false
	}
	at = key(b, at)
	if b[at] != '"' {
		return "", false
	}
	end := quoted(b, at)
	if b[space(b, end)] != '}' {
		return "", false
	}
	text, err := decodeString(binaryKey, b[at:end])
	return text, err == nil
}

// DecodeBinary reads a push from a binary frame of Phoenix V2:
// 0 | len(join_ref) | len(ref) | len(topic) | len(event), a byte each, then
// the four strings, then the payload. An empty join_ref or ref is null.
func DecodeBinary(data []byte) (Frame, error) {
	if len(data) < 5 || data[0] != binaryPush {
		return Frame{}, errors.New("binary frame is no push")
	}
	var field [4]string
	rest := data[5:]
	for i := range field {
		n := int(data[1+i])
		if n > len(rest) {
			return Frame{}, errors.New("binary frame is cut short")
		}
		field[i], rest = string(rest[:n]), rest[n:]
		if !utf8.ValidString(field[i]) {
			return Frame{}, errNotUTF8
		}
	}
	f := Frame{Topic: field[2], Event: field[3], Binary: append([]byte{}, rest...)}
	if field[0] != "" {
		f.JoinRef = RefOf(field[0])
	}
	if field[1] != "" {
		f.Ref = RefOf(field[1])
	}
	return f, nil
}
