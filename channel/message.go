package channel

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-chime/chime/internal/wire"
)

// Message is what a client sent. Handlers may keep it, but must not modify it.
type Message struct {
	Topic, Event string
	Payload      json.RawMessage // any JSON, in one line of valid UTF-8; nil if Binary is set
	Binary       []byte          // the payload of a binary message, else nil

	// Key is of a message that its client wants published once: see Message.Once. It is
	// made of what the client gave and of who it is, by Identity.ID, so that no client can
	// use the key of another; all that are anonymous share theirs. "" is none.
	Key string

	ref     wire.Ref
	joinRef wire.Ref
}

func messageOf(f *wire.Frame) Message {
	return Message{Topic: f.Topic, Event: f.Event, Payload: f.Payload, Binary: f.Binary, ref: f.Ref, joinRef: f.JoinRef}
}

// Decode decodes the payload into v. Its error may be returned from a handler:
// the client then reads that its payload is malformed.
func (m Message) Decode(v any) error {
	if m.Binary != nil {
		return Refuse("payload is binary, want JSON")
	}
	if err := json.Unmarshal(m.Payload, v); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
			return Refuse(fmt.Sprintf("malformed payload: %s: got %s", wrong.Field, wrong.Value))
		}
		return Refuse("malformed payload")
	}
	return nil
}

// Once has what is broadcast for m broadcast once, however often its client sends m with
// the same key, and whatever is made of m: what the client sent is compared. It is none if
// the client gave no key.
func (m Message) Once() SendOption {
	if m.Key == "" {
		return once{}
	}
	return Once(m.Key, []byte(m.Event), m.Payload)
}

// Binary is a payload, or a reply, that is no JSON. It stays as it is where the
// client's dialect can carry it, and is {"@binary":"<base64>"} elsewhere. The
// bytes are not copied, and must not be changed after the call.
type Binary []byte

// MarshalJSON gives the form for JSON.
func (b Binary) MarshalJSON() ([]byte, error) {
	return []byte(`{"@binary":"` + base64.StdEncoding.EncodeToString(b) + `"}`), nil
}

// body is an encoded payload.
type body struct {
	data   []byte
	binary bool
}

func validEvent(event string) bool {
	return wire.ValidName(event) && !strings.HasPrefix(event, "phx_") && event[0] != '@'
}

func badEvent(event string) error {
	return fmt.Errorf("event %.80q: want 1 to %d bytes of UTF-8 without control characters, and neither phx_ nor @ in front", event, wire.MaxName)
}

// encode checks an event and encodes its payload, which must be an object: some
// clients fail on anything else.
func encode(event string, payload any) (body, error) {
	if !validEvent(event) {
		return body{}, badEvent(event)
	}
	if b, ok := payload.(Binary); ok {
		return body{b, true}, nil
	}
	text, err := wire.EncodeObject(payload)
	if err != nil {
		return body{}, fmt.Errorf("payload of %q: %w", event, err)
	}
	return body{text, false}, nil
}

// message is a broadcast; offset is 0 if it is not retained.
func (b body) message(topic, event string, offset uint64) *wire.Message {
	if b.binary {
		return wire.NewBinaryPush(topic, event, b.data, offset)
	}
	return wire.NewPush(topic, event, b.data, offset)
}

func reason(text string) []byte {
	b := wire.AppendString([]byte(`{"reason":`), text)
	return append(b, '}')
}

// readable is what a client may read of an error.
func readable(err error) (text string, public bool) {
	var e *Error
	if errors.As(err, &e) && e != nil { // a nil *Error in an error is a mistake, and says nothing
		return e.Reason, true
	}
	return "internal", false
}
