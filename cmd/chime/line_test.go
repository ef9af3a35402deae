package main

import (
	"encoding/json"
	"testing"
	"time"
)

func TestPrintableEscapesWhatSteersATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain":            "plain",
		"Grüße 你好 👩‍👧":     "Grüße 你好 👩‍👧",
		"\x1b[2Jgone":      `\u001b[2Jgone`,
		"a\x7f\u009b2J":    `a\u007f\u009b2J`,
		"\u202egnp.exe":    `\u202egnp.exe`,
		"a\u2028b\nc":      `a\u2028b\u000ac`,
		"\U000e0041tag":    `\udb40\udc41tag`,
		"bad \xff, \ufffd": "bad \ufffd, \ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestPrintableJSONMeansTheSame(t *testing.T) {
	const text = "\u009b \u2028 \u202e \U000e0041"
	in, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := json.Unmarshal([]byte(printable(string(in))), &got); err != nil || got != text {
		t.Errorf("got %q, %v; want %q", got, err, text)
	}
}

func TestTextLineTellsWhenItWasSaid(t *testing.T) {
	arrived := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	said := time.Date(2025, 1, 2, 3, 4, 5, 0, time.Local)
	at, err := json.Marshal(map[string]int64{"at": said.UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	for payload, want := range map[string]string{
		string(at):      "2025-01-02 03:04:05  x  " + string(at),
		`{"at":12}`:     `2026-03-04 05:06:07  x  {"at":12}`,
		`{"at":"noon"}`: `2026-03-04 05:06:07  x  {"at":"noon"}`,
		`[1]`:           `2026-03-04 05:06:07  x  [1]`,
	} {
		if got := textLine(frame{event: "x", payload: []byte(payload)}, arrived); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
