package nats_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/internal/need"
)

// servers are those of a cluster.
type servers struct {
	list  []*embedded.Server
	setup []embedded.Options
}

// cluster starts three servers that are one cluster.
func cluster(t testing.TB) *servers {
	t.Helper()
	const n = 3
	s := &servers{}
	var addresses []string
	for range 2 * n {
		addresses = append(addresses, need.Free(t))
	}
	for i := range n {
		o := embedded.Options{Dir: t.TempDir(), Name: fmt.Sprint("server-", i), Listen: addresses[n+i], Cluster: addresses[i], Log: quiet, Secret: "s3cret"}
		for k := range n {
			if k != i {
				o.Peers = append(o.Peers, addresses[k])
			}
		}
		s.setup = append(s.setup, o)
		s.list = append(s.list, nil)
		s.start(t, i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, one := range s.list {
		if err := one.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *servers) start(t testing.TB, i int) {
	t.Helper()
	one, err := embedded.Start(s.setup[i])
	if err != nil {
		t.Fatal(err)
	}
	s.list[i] = one
	t.Cleanup(func() { _ = one.Close() })
}

// nodes opens a broker for each server.
func (s *servers) nodes(t testing.TB, n int) []broker.Broker {
	p := prefix()
	var list []broker.Broker
	for i := range n {
		list = append(list, open(t, nats.Options{Server: s.list[i%len(s.list)], Prefix: p, Replicas: 3}))
	}
	return list
}

func TestThreeServers(t *testing.T) {
	t.Parallel()
	s := cluster(t)
	t.Run("opened at once", func(t *testing.T) { // one makes the streams, and the others find them
		p, epochs := prefix(), make([]string, 6)
		var opening sync.WaitGroup
		for i := range epochs {
			opening.Go(func() {
				b, err := nats.Open(t.Context(), nats.Options{Server: s.list[i%len(s.list)], Prefix: p, Replicas: 3, Streams: 2, Log: quiet})
				if err != nil {
					t.Error(err)
					return
				}
				epochs[i] = b.History().Epoch()
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		opening.Wait()
		if all := slices.Compact(slices.Clone(epochs)); len(all) != 1 || all[0] == "" {
			t.Errorf("got epochs %q, want one", epochs)
		}
	})
	t.Run("alone", func(t *testing.T) {
		brokertest.Run(t, func(t *testing.T) broker.Broker { return s.nodes(t, 1)[0] })
	})
	brokertest.RunCluster(t, func(t *testing.T, n int) []broker.Broker { return s.nodes(t, n) })
}
