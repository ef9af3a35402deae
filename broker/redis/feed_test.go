package redis

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/go-chime/chime/internal/redistest"
)

// journal is a log that a test reads.
type journal struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) count(message string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), message)
}

// A node is told by several connections: of an engine that is away the log speaks once.
func TestAnEngineThatIsAwayIsLoggedOnce(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	p := newProxy(t, e)
	var log journal
	b := open(t, p.url(), Options{Log: slog.New(slog.NewTextHandler(&log, nil)), pace: pace})
	b.Start(newWatcher())
	hear := func(all bool) func() bool {
		return func() bool {
			for _, f := range b.feeds {
				if (f.health() == nil) != all {
					return false
				}
			}
			return true
		}
	}
	redistest.Eventually(t, "all is heard", hear(true))
	for n := range 2 {
		p.refuse(true)
		p.cut()
		redistest.Eventually(t, "nothing is heard", hear(false))
		p.refuse(false)
		redistest.Eventually(t, "all is heard again", hear(true))
		for _, message := range []string{"subscriptions were lost", "subscribed again"} {
			redistest.Eventually(t, message, func() bool { return log.count(message) > n })
			if got := log.count(message); got != n+1 {
				t.Errorf("%q is logged %d times, want %d", message, got, n+1)
			}
		}
	}
}
