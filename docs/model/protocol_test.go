package model

import (
	"os"
	"testing"
	"time"
)

// Each of these is gone through to its end. Those that take long are for who
// asks for them: CHIME_MODEL=wide.
var explorations = []struct {
	name string
	cost cost
	bounds
}{
	{"WebSocket, a long talk", normal, bounds{up: 2, down: 2, ring: 2, conns: 2, attempts: 1, candidates: 1, webSocket: true, beats: true}},
	{"WebSocket, the ring is too short", quick, bounds{up: 1, down: 3, ring: 1, conns: 2, attempts: 1, candidates: 1, webSocket: true}},
	{"WebSocket, few secrets are kept", quick, few},
	{"stream", quick, bounds{up: 1, down: 1, ring: 1, conns: 2, attempts: 1, candidates: 1, copies: 1, stream: true}},
	{"stream, POSTs repeated", normal, bounds{up: 1, down: 1, ring: 1, conns: 2, attempts: 1, candidates: 1, copies: 2, stream: true}},
	{"WebSocket and stream", normal, bounds{up: 1, down: 1, ring: 1, conns: 2, attempts: 1, candidates: 2, copies: 1, webSocket: true, stream: true, showsUnpromoted: true, leaves: true}},
	{"WebSocket, three at once", normal, bounds{up: 1, down: 1, ring: 1, conns: 3, attempts: 2, candidates: 2, webSocket: true, beats: true, leaves: true}},
	{"stream, the ring is too short", normal, bounds{up: 1, down: 2, ring: 1, conns: 2, attempts: 1, candidates: 1, copies: 1, stream: true}},
	{"stream, three at once", normal, bounds{up: 1, down: 0, ring: 1, conns: 3, attempts: 2, candidates: 2, copies: 1, stream: true}},
	{"WebSocket, a longer talk", slow, bounds{up: 3, down: 3, ring: 3, conns: 2, attempts: 1, candidates: 1, webSocket: true}},
	{"WebSocket, a long talk, three at once", slow, bounds{up: 2, down: 2, ring: 2, conns: 3, attempts: 2, candidates: 2, webSocket: true}},
	{"stream, a talk, three at once", slow, bounds{up: 1, down: 1, ring: 1, conns: 3, attempts: 2, candidates: 2, copies: 1, stream: true}},
	{"stream, a long talk, POSTs repeated", slow, bounds{up: 2, down: 2, ring: 2, conns: 2, attempts: 1, candidates: 1, copies: 2, stream: true}},
	{"WebSocket and stream, POSTs repeated", slow, bounds{up: 1, down: 1, ring: 1, conns: 2, attempts: 2, candidates: 1, copies: 2, webSocket: true, stream: true, beats: true}},
	{"WebSocket and stream, three at once", slow, bounds{up: 1, down: 1, ring: 1, conns: 3, attempts: 2, candidates: 2, copies: 1, webSocket: true, stream: true}},
}

// cost is what an exploration takes.
type cost int

const (
	quick  cost = iota // under a second, so that the race detector and -short have some, too
	normal             // seconds
	slow               // minutes, and gigabytes
)

func affordable() cost {
	switch {
	case testing.Short(), raceDetector:
		return quick
	case os.Getenv("CHIME_MODEL") == "wide":
		return slow
	}
	return normal
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
		})
	}
}
