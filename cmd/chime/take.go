package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/r3labs/sse/v2"
)

// take is given each event of a connection. An error ends the connection.
func (f *follower) take(e *sse.Event) error {
	if len(e.Retry) > 0 {
		var ms int64
		_ = json.Unmarshal(e.Retry, &ms) // what is no number asks for nothing
		f.ask(ms)
	}
	if len(e.Event) > 0 || len(e.Data) == 0 {
		return nil // a frame has no event type, a torn one is given one: see watch
	}
	fr, err := parseFrame(e.Data)
	if err != nil {
		return fatal{fmt.Errorf("%s: %w", f.url, err)}
	}
	switch {
	case fr.topic == "chime":
		return f.takeControl(fr)
	case fr.topic != f.topic:
		return nil // a heartbeat
	case fr.event == "phx_reply":
		return f.takeReply(fr)
	case fr.event == "phx_error":
		return fmt.Errorf("the channel failed%s", reasonOf(fr.payload))
	case fr.event == "phx_close":
		return fatal{fmt.Errorf("the server closed %s", f.topic)}
	}
	if err := f.print(fr); err != nil {
		return fatal{fmt.Errorf("print: %w", err)}
	}
	f.position = string(e.ID) // where an event has none, the library repeats the one before
	return nil
}

// takeControl handles what the server says about the connection.
func (f *follower) takeControl(fr frame) error {
	var p struct {
		Code  int   `json:"code"`
		Retry int64 `json:"retry_ms"`
	}
	_ = json.Unmarshal(fr.payload, &p) // another shape says nothing of this
	switch {
	case fr.event == "drain":
		f.ask(p.Retry) // the end of the stream follows
	case fr.event == "closed" && p.Code == codeStayAway:
		return fatal{fmt.Errorf("the server refuses this client%s", reasonOf(fr.payload))}
	case fr.event == "closed":
		return fmt.Errorf("the server closed the stream%s", reasonOf(fr.payload))
	}
	return nil
}

const codeStayAway = 4003

// takeReply handles the answer to the join, the first thing of a topic.
func (f *follower) takeReply(fr frame) error {
	var p struct {
		Status   string
		Response json.RawMessage
	}
	if json.Unmarshal(fr.payload, &p) != nil || p.Status != "ok" {
		return fatal{fmt.Errorf("join of %s: refused%s", f.topic, reasonOf(p.Response))}
	}
	var response struct {
		History *struct {
			Recovered *bool
		} `json:"@history"`
	}
	_ = json.Unmarshal(p.Response, &response) // the rest is the channel's own
	f.joined = time.Now()
	switch h := response.History; {
	case h == nil || h.Recovered == nil:
		f.note("joined " + f.topic)
	case *h.Recovered:
		f.note("joined " + f.topic + " again: nothing was missed")
	default:
		f.note("joined " + f.topic + " again: messages were missed, the newest follow")
	}
	return nil
}

// ask notes the pause, in ms, that the server wants before the next attempt.
func (f *follower) ask(ms int64) {
	f.retry = min(max(0, time.Duration(ms)*time.Millisecond), longWait)
}

// reasonOf is ": why" if the payload says why, so that it can end a sentence.
func reasonOf(payload json.RawMessage) string {
	var p struct{ Reason string }
	if json.Unmarshal(payload, &p) != nil || p.Reason == "" {
		return ""
	}
	return ": " + p.Reason
}
