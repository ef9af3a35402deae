package wire

import "fmt"

// DecodeV1 reads a frame of Phoenix V1: {"topic","event","payload","ref"}, of
// which none may be missing, and possibly "join_ref". Without one a join is
// known by its ref: a client that has joined twice tells the closes by that.
func DecodeV1(data []byte) (Frame, error) {
	var topic, event, payload, ref, joinRef []byte
	err := fields(data, func(key, value []byte) {
		switch {
		case same(key, "topic"):
			topic = value
		case same(key, "event"):
			event = value
		case same(key, "payload"):
			payload = value
		case same(key, "ref"):
			ref = value
		case same(key, "join_ref"):
			joinRef = value
		}
	})
	if err != nil {
		return Frame{}, err
	}
	for _, field := range []struct {
		name  string
		value []byte
	}{{"topic", topic}, {"event", event}, {"payload", payload}, {"ref", ref}} {
		if field.value == nil {
			return Frame{}, fmt.Errorf("frame has no %s", field.name)
		}
	}
	var f Frame
	if joinRef != nil {
		if f.JoinRef, err = decodeRef("join_ref", joinRef); err != nil {
			return Frame{}, err
		}
	}
	if f.Ref, err = decodeRef("ref", ref); err != nil {
		return Frame{}, err
	}
	if f.Topic, err = decodeString("topic", topic); err != nil {
		return Frame{}, err
	}
	if f.Event, err = decodeString("event", event); err != nil {
		return Frame{}, err
	}
	if f.Event == EventJoin && f.JoinRef.Null() {
		f.JoinRef = f.Ref
	}
	if f.Payload, f.Binary, err = decodePayload(payload); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// AppendV1 appends m as a WebSocket frame of Phoenix V1. This dialect has no
// join_ref and no positions.
func (m *Message) AppendV1(b []byte) []byte { return append(b, m.form(formV1)...) }

// AppendV1Quoted appends as a JSON string the text that AppendV1 frames.
func (m *Message) AppendV1Quoted(b []byte) []byte { return append(b, m.form(formQuotedV1)...) }

func (m *Message) appendV1Text(b []byte) []byte {
	b = append(b, `{"topic":`...)
	b = AppendString(b, m.Topic)
	b = append(b, `,"event":`...)
	b = AppendString(b, m.Event)
	b = append(b, `,"payload":`...)
	b = m.appendPayload(b, false)
	b = append(b, `,"ref":`...)
	_, ref := m.refs()
	b = ref.append(b)
	return append(b, '}')
}
