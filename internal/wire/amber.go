package wire

import "fmt"

// DecodeAmber reads a frame of an Amber client: {"event":"join"|"leave",
// "topic"}, or {"event":"message","topic","subject","payload"}. They have no
// refs: nothing is replied to them.
func DecodeAmber(data []byte) (Frame, error) {
	found := map[string][]byte{"event": nil, "topic": nil, "subject": nil, "payload": []byte("{}")}
	err := fields(data, func(key, value []byte) {
		for name := range found {
			if same(key, name) {
				found[name] = value
			}
		}
	})
	if err != nil {
		return Frame{}, err
	}
	text := func(key string) (string, error) {
		if found[key] == nil {
			return "", fmt.Errorf("frame has no %s", key)
		}
		return decodeString(key, found[key])
	}
	event, err := text("event")
	if err != nil {
		return Frame{}, err
	}
	var f Frame
	if f.Topic, err = text("topic"); err != nil {
		return Frame{}, err
	}
	switch event {
	case "join":
		f.Event = EventJoin
	case "leave":
		f.Event = EventLeave
	case "message":
		if f.Event, err = text("subject"); err != nil {
			return Frame{}, err
		}
		if f.Event == EventJoin || f.Event == EventLeave {
			return Frame{}, fmt.Errorf("frame has the subject %s: want one that is not Phoenix's", f.Event)
		}
	default:
		return Frame{}, fmt.Errorf("frame has the event %q: want join, leave or message", cut(event, MaxName))
	}
	if f.Payload, f.Binary, err = decodePayload(found["payload"]); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// AppendAmber appends m as a WebSocket frame for an Amber client, or nothing where
// Amber has no form for it: replies, closes and errors of a topic, and binary
// payloads.
func (m *Message) AppendAmber(b []byte) []byte {
	switch m.Event {
	case EventReply, EventClose, EventError:
		return b
	}
	if m.binary || !m.Counted() {
		return b
	}
	return append(b, m.form(formAmber)...)
}

func (m *Message) appendAmberText(b []byte) []byte {
	b = append(b, `{"event":"message","topic":`...)
	b = AppendString(b, m.Topic)
	b = append(b, `,"subject":`...)
	b = AppendString(b, m.Event)
	b = append(b, `,"payload":`...)
	b = m.appendPayload(b, false)
	return append(b, '}')
}

// Binary reports whether the payload of m is binary.
func (m *Message) Binary() bool { return m.binary }

// Ping is a ping of the WebSocket itself, which the client's browser answers.
var Ping = []byte{fin | opPing, 0}

// AmberHeartbeat is what an Amber client waits for: the bare text ping, with a Ping.
var AmberHeartbeat = []byte{fin | opText, 4, 'p', 'i', 'n', 'g', fin | opPing, 0}
