package redis

import (
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/nodetest"
	"github.com/go-chime/chime/internal/redistest"
)

// A node is told by several connections: of an engine that is away the log speaks once.
func TestAnEngineThatIsAwayIsLoggedOnce(t *testing.T) {
	t.Parallel()
	e := redistest.Start(t, "--appendfsync", "no")
	p := newProxy(t, e)
	var log nodetest.Log
	b := open(t, p.url(), Options{Log: log.Logger(), pace: pace})
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
			redistest.Eventually(t, message, func() bool { return strings.Count(log.String(), message) > n })
			if got := strings.Count(log.String(), message); got != n+1 {
				t.Errorf("%q is logged %d times, want %d", message, got, n+1)
			}
		}
	}
}
