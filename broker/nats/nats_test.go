package nats_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/need"
)

func TestMain(m *testing.M) {
	need.Parallel(5)
	need.FilesInMemory()
	leak.Main(m)
}

var quiet = slog.New(slog.DiscardHandler)

// serve starts a server that is alone.
func serve(t testing.TB) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Name: "alone", Listen: "127.0.0.1:0", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var prefixes atomic.Int64

// prefix is another one each time, so that tests can share a server.
func prefix() string { return fmt.Sprint("test-", prefixes.Add(1)) }

func open(t testing.TB, o nats.Options) *nats.Broker {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet
	}
	b, err := nats.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestBroker(t *testing.T) {
	t.Parallel()
	s := serve(t)
	brokertest.Run(t, func(t *testing.T) broker.Broker {
		return open(t, nats.Options{Server: s, Prefix: prefix()})
	})
}

func TestNodesOfOneServer(t *testing.T) {
	t.Parallel()
	s := serve(t)
	brokertest.RunCluster(t, func(t *testing.T, nodes int) []broker.Broker {
		p := prefix()
		var list []broker.Broker
		for range nodes {
			list = append(list, open(t, nats.Options{Server: s, Prefix: p}))
		}
		return list
	})
}
