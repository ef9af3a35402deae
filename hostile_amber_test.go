package chime_test

import (
	"strings"
	"testing"
)

// Amber has no words for an error: what can't be understood is ignored, what
// is too much ends the connection, and nobody else notices either.

func (s *rawSite) amber(t *testing.T, as string) *rawSocket {
	t.Helper()
	ws := s.upgrade(t, "/socket").opened()
	ws.text(`{"event":"join","topic":"hall:1","payload":{"as":"` + as + `"}}`)
	ws.text(`{"event":"message","topic":"hall:1","subject":"say","payload":{"as":"` + as + `"}}`)
	ws.want(`{"event":"message","topic":"hall:1","subject":"say","payload":{"as":"` + as + `"}}`)
	return ws
}

func TestWhatAmberDoesNotUnderstandIsIgnored(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	ws := s.amber(t, "attacker")
	w.hears(`[null,null,"hall:1","say",{"as":"attacker"}]`)
	bad := []string{
		`{}`, `{"event":"say","topic":"hall:1"}`, `{"event":"message","topic":"hall:1"}`, `{"event":7,"topic":"hall:1"}`,
		`{"event":"message","topic":null,"subject":"say"}`, `{"event":"message","topic":"hall:1","subject":["say"]}`,
		`{"event":"message","topic":"hall:2","subject":"say","payload":{}}`, // not joined
		`{"event":"leave","topic":"hall:2"}`, `{"event":"join","topic":"nowhere"}`, `{"event":"join","topic":"chime"}`,
		`{"event":"join","topic":` + jsonString("hall:\n\ndata: forged") + `}`,
		`{"event":"message","topic":"hall:1","subject":"phx_leave","payload":{}}`, `{"event":"message","topic":"hall:1","subject":"phx_reply","payload":{}}`,
		`{"event":"message","topic":"hall:1","subject":"a\nb","payload":{}}`, `{"event":"message","topic":"hall:1","subject":"` + strings.Repeat("x", 10_000) + `"}`,
		`{"event":"message","topic":"hall:1","subject":"say","payload":[1]}`, // no object, so not rebroadcast
		`{"event":"message","topic":"hall:1","subject":"say","payload":` + deep(20_000) + `}`,
		`{"event":"message","topic":"hall:1","subject":"fail"}`, `{"event":"message","topic":"hall:1","subject":"refuse"}`,
		"{\"event\":\"message\",\"topic\":\"hall:1\",\"subject\":\"say\",\"payload\":{\"a\":\"\xff\"}}",
		`{"event":"join","topic":"hall:3","payload":{"mode":"refuse"}}`, `{"event":"join","topic":"hall:3","payload":{"mode":"panic"}}`,
	}
	for _, frame := range badFrames {
		bad = append(bad, frame.text)
	}
	for _, text := range bad {
		ws.text(text)
	}
	ws.write(maskedFrame(fin|opBinary, "\x00\x00\x00\x06\x03hall:1say{}"))
	ws.text(`{"event":"message","topic":"hall:1","subject":"say","payload":{"the":"end"}}`)
	ws.want(`{"event":"message","topic":"hall:1","subject":"say","payload":{"the":"end"}}`)
	w.hears(`[null,null,"hall:1","say",{"the":"end"}]`)
	w.isWell()
	s.hall.wantNobodyLeft(t)
}

func TestAmberClientIsEndedByWhatEndsOthers(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	for name, c := range map[string]struct {
		send   string
		code   uint16
		reason string
		leave  departure
	}{
		"a message that is too large": {`"` + strings.Repeat("x", 64<<10) + `"`, 1009, "message too large", departure{"hall:1", "attacker", "closed"}},
		"a handler that panics":       {`{"event":"message","topic":"hall:1","subject":"boom"}`, 1001, "", departure{"hall:1", "attacker", "panicked"}},
		"being kicked":                {`{"event":"message","topic":"hall:1","subject":"kick me"}`, 1001, "kicked", departure{"hall:1", "attacker", "kicked"}},
	} {
		t.Run(name, func(t *testing.T) {
			ws := s.amber(t, "attacker")
			w.hears(`[null,null,"hall:1","say",{"as":"attacker"}]`)
			ws.text(c.send)
			ws.wantCloseFrame(c.code, c.reason)
			_ = ws.conn.Close()
			s.hall.wantLeft(t, c.leave)
			w.isWell()
		})
	}
	s.hall.wantNobodyLeft(t)
}
