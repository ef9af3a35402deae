package nats_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/internal/need"
)

// Three nodes follow what all publish, while their connections are cut and servers end and
// begin again, at random.
func TestNothingIsMissedWhileServersFail(t *testing.T) {
	t.Parallel()
	need.Patience(t, "a quarter of a minute and more")
	s := cluster(t)
	p := prefix()
	var nodes []broker.Broker
	var links []*link
	for range 3 {
		var urls []string
		for _, one := range s.list {
			l := proxy(t, strings.TrimPrefix(one.URL(), "nats://"))
			links = append(links, l)
			urls = append(urls, "nats://chime:s3cret@"+l.address())
		}
		nodes = append(nodes, open(t, nats.Options{
			URL: strings.Join(urls, ","), Connect: []client.Option{client.IgnoreDiscoveredServers()}, Prefix: p, Replicas: 3, GiveUp: 60 * time.Second,
		}))
	}
	brokertest.RunFaults(t, nodes, brokertest.Faults{
		Seed: need.Seed(t), Rounds: need.Rounds(5, 20),
		Fail: func(r *rand.Rand, acknowledged func(int)) {
			if r.IntN(3) > 0 {
				l := links[r.IntN(len(links))]
				l.cut()
				l.heal()
				return
			}
			i := r.IntN(len(s.list))
			_ = s.list[i].Close()
			acknowledged(r.IntN(50)) // by the others
			s.start(t, i)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := s.list[i].Ready(ctx); err != nil { // two at one time are no majority
				t.Error(err)
			}
		},
		Cut: func() {
			for _, l := range links[:len(s.list)] {
				l.cut()
			}
		},
		Heal: func() {
			for _, l := range links[:len(s.list)] {
				l.heal()
			}
		},
	})
}
