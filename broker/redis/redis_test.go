package redis

import (
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
)

func TestBroker(t *testing.T) {
	e := start(t, "--appendfsync", "no")
	brokertest.Run(t, func(t *testing.T) broker.Broker { return open(t, e.url(), Options{}) })
}

func TestCluster(t *testing.T) {
	e := start(t, "--appendfsync", "no")
	brokertest.RunCluster(t, func(t *testing.T, n int) []broker.Broker {
		prefix := fresh()
		var nodes []broker.Broker
		for range n {
			nodes = append(nodes, open(t, e.url(), Options{Prefix: prefix}))
		}
		return nodes
	})
}
