package drafttest

import (
	"maps"
	"strings"
	"testing"
)

func TestAViewSaysWhatMakesNoSense(t *testing.T) {
	const written = "once upon"
	start, delta := `draft_start {"draft":"d","n":0,"text":""}`, `draft_delta {"draft":"d","n":1,"text":"once "}`
	whole := `final {"draft":"d","text":"once upon"}`
	for _, c := range []struct {
		sent  []string
		wrong string // in what is said of the last; "": nothing
		text  string // that is shown then
	}{
		{sent: []string{start, delta}, text: "once "},
		{sent: []string{start, delta, `other {"draft":"d"}`, whole}},
		{sent: []string{start, delta, `draft_end {"draft":"d"}`, start}},
		{sent: []string{start, `draft_state {"drafts":[{"draft":"d","n":7,"text":"on"}]}`, `draft_delta {"draft":"d","n":8,"text":"c"}`}, text: "onc"},
		{sent: []string{start, delta, `draft_state {"drafts":[]}`}},
		{sent: []string{whole}},
		{sent: []string{start, start}, wrong: "twice"},
		{sent: []string{delta}, wrong: "known: false"},
		{sent: []string{start, delta, delta}, wrong: "delta 1", text: "once "},
		{sent: []string{start, `draft_delta {"draft":"d","n":1,"text":"upon"}`}, wrong: "want the beginning"},
		{sent: []string{whole, whole}, wrong: "comes twice"},
		{sent: []string{whole, start}, wrong: "after its message"},
		{sent: []string{whole, `draft_state {"drafts":[{"draft":"d","n":0,"text":""}]}`}, wrong: "after its message"},
		{sent: []string{start, `final {"draft":"d","text":"once"}`}, wrong: `want "once upon"`},
		{sent: []string{`draft_end ?`}, wrong: "invalid character"},
	} {
		v := View{Written: func(string) string { return written }}
		var err error
		for i, line := range c.sent {
			if err != nil {
				t.Errorf("%q: %v at %d", c.sent, err, i-1)
			}
			event, payload, _ := strings.Cut(line, " ")
			err = v.Take(event, []byte(payload))
		}
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%q: got %v, want %q", c.sent, err, c.wrong)
		}
		want := map[string]string{}
		if c.text != "" {
			want["d"] = c.text
		}
		got := v.Texts()
		maps.DeleteFunc(got, func(_, text string) bool { return text == "" })
		if !maps.Equal(got, want) {
			t.Errorf("%q: shows %q, want %q", c.sent, got, want)
		}
	}
	v := View{} // nobody knows what was written
	_ = v.Take("draft_start", []byte(`{"draft":"d","n":0,"text":"once"}`))
	if err := v.Take(Final, []byte(`{"draft":"d","text":"upon"}`)); err == nil {
		t.Error("a message that does not begin with what was shown makes sense")
	}
}
