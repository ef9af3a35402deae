package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

var errNotObject = errors.New("frame is not an object")

// decodeObject reads a frame that is an object, whatever its keys.
func decodeObject(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) {
		return nil, errNotUTF8
	}
	if !json.Valid(data) {
		return nil, errNotJSON
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil || fields == nil {
		return nil, errNotObject
	}
	return fields, nil
}

// DecodeV1 reads a frame of Phoenix V1: {"topic","event","payload","ref"}, of
// which none may be missing, and possibly "join_ref". Without one a join is
// known by its ref: a client that has joined twice tells the closes by that.
func DecodeV1(data []byte) (Frame, error) {
	fields, err := decodeObject(data)
	if err != nil {
		return Frame{}, err
	}
	for _, key := range []string{"topic", "event", "payload", "ref"} {
		if _, ok := fields[key]; !ok {
			return Frame{}, fmt.Errorf("frame has no %s", key)
		}
	}
	var f Frame
	if joinRef, ok := fields["join_ref"]; ok {
		if f.JoinRef, err = decodeRef("join_ref", joinRef); err != nil {
			return Frame{}, err
		}
	}
	if f.Ref, err = decodeRef("ref", fields["ref"]); err != nil {
		return Frame{}, err
	}
	if f.Topic, err = decodeString("topic", fields["topic"]); err != nil {
		return Frame{}, err
	}
	if f.Event, err = decodeString("event", fields["event"]); err != nil {
		return Frame{}, err
	}
	if f.Event == EventJoin && f.JoinRef.Null() {
		f.JoinRef = f.Ref
	}
	if f.Payload, f.Binary, err = decodePayload(fields["payload"]); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// AppendV1 appends m as a WebSocket frame of Phoenix V1. This dialect has no
// join_ref and no positions.
func (m *Message) AppendV1(b []byte) []byte { return append(b, m.form(formV1)...) }

func (m *Message) appendV1Text(b []byte) []byte {
	b = append(b, `{"topic":`...)
	b = AppendString(b, m.Topic)
	b = append(b, `,"event":`...)
	b = AppendString(b, m.Event)
	b = append(b, `,"payload":`...)
	b = m.appendPayload(b, false)
	b = append(b, `,"ref":`...)
	b = m.ref.append(b)
	return append(b, '}')
}
