package redis

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/redistest"
)

// TestNothingIsMissedInSilence has nodes follow what others publish, while connections and
// the engine fail at random.
func TestNothingIsMissedInSilence(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t)
		prefix := fresh()
		var nodes []broker.Broker
		var proxies []*proxy
		for range 3 {
			p := newProxy(t, e)
			nodes = append(nodes, open(t, p.url(), Options{Prefix: prefix, GiveUp: time.Minute, pace: 300 * time.Millisecond}))
			proxies = append(proxies, p)
		}
		brokertest.RunFaults(t, nodes, brokertest.Faults{Seed: need.Seed(t), Rounds: need.Rounds(12, 60), Fail: func(r *rand.Rand, acknowledged func(int)) {
			p := proxies[r.IntN(len(proxies))]
			switch r.IntN(6) {
			case 0, 1:
				p.cut()
			case 2:
				p.deafen(true)
				acknowledged(r.IntN(20)) // by the others
				p.cut()
				p.deafen(false)
			case 3:
				e.Must(t, "CLIENT", "KILL", "TYPE", "pubsub")
			case 4:
				e.Must(t, "SCRIPT", "FLUSH")
			case 5:
				e.Kill(t)
				e.Begin(t)
			}
		}})
	})
}
