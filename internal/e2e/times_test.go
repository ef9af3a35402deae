package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/go-chime/chime/transport"
)

// inTime has tests hold times, too. It takes a machine that does nothing else, so a plain
// run holds none: there they say what a busy machine had to do.
var inTime = os.Getenv("CHIME_TIMES") != ""

// rtt is the time there and back on the tests' network, with all that browser, box and server
// do for it on two cores.
const rtt = 100 * time.Millisecond

// toFirst returns how long the first message may take where these transports get through.
func toFirst(passes []string) time.Duration {
	switch passes[0] {
	case transport.WebSocket:
		return 5 * rtt
	case transport.SSE:
		return 2*time.Second + 2*rtt
	default:
		return 5*time.Second + 3*rtt
	}
}

// wantWithin checks a time, where times are held.
func wantWithin(t testing.TB, what string, took, most time.Duration) {
	t.Helper()
	t.Logf("%s after %v", what, took.Round(time.Millisecond))
	if inTime && took > most {
		t.Errorf("%s after %v, want %v at most", what, took, most)
	}
}
