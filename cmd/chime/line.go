package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// frame is what tail prints: one event of a topic. raw is the JSON it came as.
type frame struct {
	topic, event string
	payload      json.RawMessage
	raw          []byte
}

var errNoFrame = errors.New("the server sends something else than chime frames")

func parseFrame(data []byte) (frame, error) {
	var line bytes.Buffer // an event may come in several lines, a frame is printed in one
	var parts []json.RawMessage
	if json.Compact(&line, data) != nil || json.Unmarshal(line.Bytes(), &parts) != nil || len(parts) != 5 {
		return frame{}, errNoFrame
	}
	f := frame{payload: parts[4], raw: line.Bytes()}
	if json.Unmarshal(parts[2], &f.topic) != nil || json.Unmarshal(parts[3], &f.event) != nil {
		return frame{}, errNoFrame
	}
	return f, nil
}

// textLine is the frame for a person: when, what, and the payload.
func textLine(f frame, arrived time.Time) string {
	return sentAt(f.payload, arrived).Local().Format(time.DateTime) + "  " + printable(f.event) + "  " + printable(string(f.payload))
}

// jsonLine is the frame for a program. It is still one line of JSON when
// escaped, since printable escapes as JSON does.
func jsonLine(f frame, _ time.Time) string { return printable(string(f.raw)) }

// sentAt is the payload's "at" if that can be a time in Unix milliseconds. A
// reader that gets an hour of history at once wants to see when it was said.
func sentAt(payload []byte, arrived time.Time) time.Time {
	var p struct {
		At int64 `json:"at"`
	}
	const year2001 = 1_000_000_000_000 // ms; less is somebody's counter, or seconds
	if json.Unmarshal(payload, &p) != nil || p.At < year2001 || p.At > 10*year2001 {
		return arrived
	}
	return time.UnixMilli(p.At)
}

// printable escapes what could move a cursor, recolour a terminal or turn the
// direction of a line: all but graphic characters, spaces and the joiners that
// scripts and emoji need. Escapes are JSON's, so JSON text keeps its meaning.
func printable(s string) string {
	const joiner, nonJoiner = '\u200d', '\u200c'
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // bad UTF-8 comes as U+FFFD
		switch {
		case unicode.IsPrint(r), r == joiner, r == nonJoiner:
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
