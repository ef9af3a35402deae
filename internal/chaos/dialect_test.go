package chaos

import (
	"encoding/json"
	"fmt"
)

// dialect is the form in which a client speaks.
type dialect struct {
	path    string // of its WebSocket
	encode  func(joinRef, ref, topic, event string, payload any) string
	parse   func(text []byte) (frame, error)
	placed  bool // retained messages have their offsets
	answers bool // there are replies
}

var (
	phoenix2 = &dialect{"/socket/websocket?vsn=2.0.0", encode, parseFrame, true, true}
	phoenix1 = &dialect{"/socket/websocket", encodeV1, parseV1, false, true}
	amber    = &dialect{"/socket/", encodeAmber, parseAmber, false, false}
)

// dialects are those of clients that do not resume, on a WebSocket.
var dialects = []*dialect{phoenix2, phoenix1, amber}

func encodeV1(_, ref, topic, event string, payload any) string {
	return object(map[string]any{"topic": topic, "event": event, "payload": payload, "ref": ref})
}

func encodeAmber(_, _, topic, event string, payload any) string {
	switch event {
	case "phx_join":
		return object(map[string]any{"event": "join", "topic": topic, "payload": payload})
	case "phx_leave":
		return object(map[string]any{"event": "leave", "topic": topic})
	}
	return object(map[string]any{"event": "message", "topic": topic, "subject": event, "payload": payload})
}

func object(fields map[string]any) string {
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func parseV1(text []byte) (frame, error) {
	var f struct {
		Topic, Event string
		Ref          *string
		Payload      json.RawMessage
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return frame{}, fmt.Errorf("frame %.100s: %w", text, err)
	}
	out := frame{topic: f.Topic, event: f.Event, payload: f.Payload}
	if f.Ref != nil {
		out.ref = *f.Ref
	}
	return out, nil
}

func parseAmber(text []byte) (frame, error) {
	var f struct {
		Event, Topic, Subject string
		Payload               json.RawMessage
	}
	if err := json.Unmarshal(text, &f); err != nil || f.Event != "message" {
		return frame{}, fmt.Errorf("frame %.100s: %w, want a message", text, err)
	}
	return frame{topic: f.Topic, event: f.Subject, payload: f.Payload}, nil
}
