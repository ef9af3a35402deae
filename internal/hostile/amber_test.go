package hostile_test

import (
	"strings"
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// Amber has no words for an error: what can't be understood is ignored, what
// is too much ends the connection, and nobody else notices either.

func amber(t *testing.T, s *raw.Site, as string) *raw.Socket {
	t.Helper()
	ws := s.Upgrade(t, "/socket").Opened()
	ws.Text(`{"event":"join","topic":"hall:1","payload":{"as":"` + as + `"}}`)
	ws.Text(`{"event":"message","topic":"hall:1","subject":"say","payload":{"as":"` + as + `"}}`)
	ws.Want(`{"event":"message","topic":"hall:1","subject":"say","payload":{"as":"` + as + `"}}`)
	return ws
}

func TestWhatAmberDoesNotUnderstandIsIgnored(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws := amber(t, s, "attacker")
	w.Hears(`[null,null,"hall:1","say",{"as":"attacker"}]`)
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
		ws.Text(text)
	}
	ws.Write(raw.Masked(raw.Fin|raw.OpBinary, "\x00\x00\x00\x06\x03hall:1say{}"))
	ws.Text(`{"event":"message","topic":"hall:1","subject":"say","payload":{"the":"end"}}`)
	ws.Want(`{"event":"message","topic":"hall:1","subject":"say","payload":{"the":"end"}}`)
	w.Hears(`[null,null,"hall:1","say",{"the":"end"}]`)
	w.IsWell()
	s.Hall.WantNobodyLeft(t)
}

func TestAmberClientIsEndedByWhatEndsOthers(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for name, c := range map[string]struct {
		send   string
		code   uint16
		reason string
		why    channel.Reason
	}{
		"a message that is too large": {`"` + strings.Repeat("x", 64<<10) + `"`, 1009, "message too large", "closed"},
		"a handler that panics":       {`{"event":"message","topic":"hall:1","subject":"boom"}`, 1001, "", "panicked"},
		"being kicked":                {`{"event":"message","topic":"hall:1","subject":"kick me"}`, 1001, "kicked", "kicked"},
	} {
		t.Run(name, func(t *testing.T) {
			ws := amber(t, s, "attacker")
			w.Hears(`[null,null,"hall:1","say",{"as":"attacker"}]`)
			ws.Text(c.send)
			ws.WantCloseFrame(c.code, c.reason)
			_ = ws.Conn.Close()
			s.Hall.WantLeft(t, "hall:1", "attacker", c.why)
			w.IsWell()
		})
	}
	s.Hall.WantNobodyLeft(t)
}
