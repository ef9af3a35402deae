package redis

import (
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/internal/redistest"
)

func TestBroker(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		brokertest.Run(t, func(t *testing.T) broker.Broker { return open(t, e.URL(), Options{}) })
	})
}

func TestCluster(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		brokertest.RunCluster(t, func(t *testing.T, n int) []broker.Broker {
			prefix := fresh()
			var nodes []broker.Broker
			for range n {
				nodes = append(nodes, open(t, e.URL(), Options{Prefix: prefix}))
			}
			return nodes
		})
	})
}
