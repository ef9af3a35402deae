package model

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
)

// Each of these is gone through to its end. Those that take long are for who
// asks for them: CHIME_MODEL=wide.
var explorations = []struct {
	name          string
	cost          cost
	states, steps int // that there are; a change of these is a change of the model
	bounds
}{
	{"WebSocket, a long talk", normal, 163_736, 845_157, bounds{up: 2, down: 2, ring: 2, conns: 2, attempts: 1, candidates: 1, webSocket: true, beats: true}},
	{"WebSocket, the ring is too short", quick, 105_268, 496_074, bounds{up: 1, down: 3, ring: 1, conns: 2, attempts: 1, candidates: 1, webSocket: true}},
	{"WebSocket, few secrets are kept", quick, 18_693, 74_960, few},
	{"stream", quick, 43_375, 250_913, bounds{up: 1, down: 1, ring: 1, conns: 2, attempts: 1, candidates: 1, copies: 1, stream: true}},
	{"stream, POSTs repeated", normal, 179_708, 1_431_884, bounds{up: 1, down: 1, ring: 1, conns: 2, attempts: 1, candidates: 1, copies: 2, stream: true}},
	{"WebSocket and stream", normal, 539_958, 3_544_828, bounds{up: 1, down: 1, ring: 1, conns: 2, attempts: 1, candidates: 2, copies: 1, webSocket: true, stream: true, showsUnpromoted: true, leaves: true}},
	{"WebSocket, three at once", normal, 303_088, 2_257_969, bounds{up: 1, down: 1, ring: 1, conns: 3, attempts: 2, candidates: 2, webSocket: true, beats: true, leaves: true}},
	{"stream, the ring is too short", normal, 158_249, 931_128, bounds{up: 1, down: 2, ring: 1, conns: 2, attempts: 1, candidates: 1, copies: 1, stream: true}},
	{"stream, three at once", normal, 174_877, 1_337_528, bounds{up: 1, down: 0, ring: 1, conns: 3, attempts: 2, candidates: 2, copies: 1, stream: true}},
	{"WebSocket, a longer talk", slow, 809_008, 4_218_947, bounds{up: 3, down: 3, ring: 3, conns: 2, attempts: 1, candidates: 1, webSocket: true}},
	{"WebSocket, a long talk, three at once", slow, 3_131_801, 21_115_335, bounds{up: 2, down: 2, ring: 2, conns: 3, attempts: 2, candidates: 2, webSocket: true}},
	{"stream, a talk, three at once", slow, 832_235, 6_470_521, bounds{up: 1, down: 1, ring: 1, conns: 3, attempts: 2, candidates: 2, copies: 1, stream: true}},
	{"stream, a long talk, POSTs repeated", slow, 1_850_748, 15_196_027, bounds{up: 2, down: 2, ring: 2, conns: 2, attempts: 1, candidates: 1, copies: 2, stream: true}},
	{"WebSocket and stream, POSTs repeated", slow, 1_602_179, 13_410_203, bounds{up: 1, down: 1, ring: 1, conns: 2, attempts: 2, candidates: 1, copies: 2, webSocket: true, stream: true, beats: true}},
	{"WebSocket and stream, three at once", slow, 9_232_415, 71_823_594, bounds{up: 1, down: 1, ring: 1, conns: 3, attempts: 2, candidates: 2, copies: 1, webSocket: true, stream: true}},
}

// cost is what an exploration takes.
type cost int

const (
	quick  cost = iota // under a second, so that the race detector and a plain go test have some, too
	normal             // seconds
	slow               // minutes, and gigabytes
)

func affordable() cost {
	switch {
	case raceDetector:
		return quick
	case os.Getenv("CHIME_MODEL") == "wide":
		return slow
	case need.All():
		return normal
	}
	return quick
}

func TestProtocol(t *testing.T) {
	for _, c := range explorations {
		if c.cost > affordable() {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if c.cost < slow { // of these, one at a time is enough for a machine
				t.Parallel()
			}
			began := time.Now()
			e, wrong := explore(&machine{bounds: c.bounds})
			if wrong != "" {
				t.Fatal(wrong)
			}
			t.Logf("%d states, %d steps, %v", len(e.from), e.steps, time.Since(began).Round(10*time.Millisecond))
			if len(e.from) != c.states || e.steps != c.steps {
				t.Errorf("got %d states and %d steps, want %d and %d", len(e.from), e.steps, c.states, c.steps)
			}
		})
	}
}

func TestTheReadmeHasTheFigures(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, together := string(text), 0
	for _, c := range explorations {
		copies := "–"
		if c.copies > 0 {
			copies = fmt.Sprint(c.copies)
		}
		row := fmt.Sprintf("\n| %s | %d, %d | %d | %d | %s | %s | %s |\n", c.name, c.up, c.down, c.ring, c.conns, copies, thousands(c.states), thousands(c.steps))
		if !strings.Contains(readme, row) {
			t.Errorf("README.md has not the row %s", row)
		}
		if c.cost < slow {
			together += c.states
		}
	}
	if all := "Those that always run have " + thousands(together) + " states together"; !strings.Contains(readme, all) {
		t.Errorf("README.md does not say %q", all)
	}
	if n := strings.Count(readme, "\n| WebSocket") + strings.Count(readme, "\n| stream"); n != len(explorations) {
		t.Errorf("README.md has %d explorations, want %d", n, len(explorations))
	}
}

// thousands is n as it is read: 1,234,567.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
