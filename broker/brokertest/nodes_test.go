package brokertest_test

import (
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/store"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestEngine(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		brokertest.Run(t, func(t *testing.T) broker.Broker { return brokertest.NewEngine(local.New(store.NewMemory())).Node() })
	})
	brokertest.RunCluster(t, func(t *testing.T, n int) []broker.Broker {
		e := brokertest.NewEngine(local.New(store.NewMemory()))
		var nodes []broker.Broker
		for range n {
			nodes = append(nodes, e.Node())
		}
		return nodes
	})
}
