package brokertest_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

// A node that hangs takes no answer of another away.
func TestAnEngineAsksAllNodesAtOneTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := brokertest.NewEngine(local.New(nil))
		hangs, answers, asks := e.Node(), e.Node(), e.Node()
		hangs.StartCluster(broker.Node{ID: "hangs"}, func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		answers.StartCluster(broker.Node{ID: "answers"}, func(_ context.Context, request []byte) ([]byte, error) { return request, nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		list, err := asks.Ask(ctx, []byte("all"))
		if err != nil || len(list) != 2 || list[0].Err == nil || string(list[1].Body) != "all" || list[1].Err != nil {
			t.Errorf("got %+v, %v, want an error of the first and the answer of the second", list, err)
		}
	})
}

// The race detector says if one may not begin while others ask.
func TestANodeBeginsWhileOthersAsk(t *testing.T) {
	e := brokertest.NewEngine(local.New(nil))
	first, second := e.Node(), e.Node()
	var begins sync.WaitGroup
	begins.Go(func() {
		second.StartCluster(broker.Node{ID: "second"}, func(context.Context, []byte) ([]byte, error) { return nil, nil })
	})
	if list, err := first.Nodes(t.Context()); len(list) > 1 || err != nil {
		t.Errorf("got %v, %v", list, err)
	}
	begins.Wait()
	if list, err := first.Nodes(t.Context()); len(list) != 1 || err != nil {
		t.Errorf("got %v, %v, want the one that has begun", list, err)
	}
}
