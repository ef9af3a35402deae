package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/broker/redis"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// engine joins the nodes of a run.
type engine interface {
	// node returns the broker of one more node.
	node(*testing.T) broker.Broker
	// hurt has something befall the engine, which it survives. It returns when that is over.
	hurt(*testing.T, *dice)
}

// inMemory is in this process, and nothing befalls it.
type inMemory struct{ of *brokertest.Engine }

func newInMemory() inMemory {
	return inMemory{brokertest.NewEngine(local.New(store.NewMemory(store.MaxBytes(1 << 40))))}
}

func (e inMemory) node(*testing.T) broker.Broker { return e.of.Node() }
func (inMemory) hurt(*testing.T, *dice)          {}

// aRedis is a server that writes to its disk before it answers.
type aRedis struct{ server *redistest.Server }

func newRedis(t *testing.T) aRedis { return aRedis{redistest.Start(t)} }

// freePort returns one that nothing listens on.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func (e aRedis) node(t *testing.T) broker.Broker {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := redis.Open(ctx, e.server.URL(), redis.Options{GiveUp: patience, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hurt has the server killed, or stop for a while.
func (e aRedis) hurt(t *testing.T, d *dice) {
	if d.one(2) {
		e.server.Kill(t)
		time.Sleep(d.between(0, time.Second))
		e.server.Begin(t)
		return
	}
	e.server.Stop(t)
	time.Sleep(d.between(100*time.Millisecond, 2*time.Second))
	e.server.GoOn(t)
}

// threeServers are those of a NATS cluster that keeps each message on all of them.
type threeServers struct {
	options [3]embedded.Options

	mu      sync.Mutex // guards servers
	servers [3]*embedded.Server
	opened  int
}

func newServers(t *testing.T) *threeServers {
	e := &threeServers{}
	for i := range e.options {
		e.options[i] = embedded.Options{
			Dir: t.TempDir(), Name: fmt.Sprint("server-", i), Secret: "secret", Log: slog.New(slog.DiscardHandler),
			Listen: "127.0.0.1:" + freePort(t), Cluster: "127.0.0.1:" + freePort(t),
		}
	}
	for i := range e.options {
		for k := range e.options {
			if k != i {
				e.options[i].Peers = append(e.options[i].Peers, e.options[k].Cluster)
			}
		}
		e.start(t, i)
	}
	t.Cleanup(func() {
		for _, s := range e.servers {
			_ = s.Close()
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.servers[0].Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *threeServers) start(t *testing.T, i int) {
	s, err := embedded.Start(e.options[i])
	if err != nil {
		t.Error(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.servers[i] = s
}

func (e *threeServers) node(t *testing.T) broker.Broker {
	var urls []string
	for i := range e.options {
		urls = append(urls, "nats://chime:secret@"+e.options[(e.opened+i)%len(e.options)].Listen)
	}
	e.opened++
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := nats.Open(ctx, nats.Options{URL: strings.Join(urls, ","), Replicas: 3, GiveUp: patience, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hurt ends one of the servers, and begins it again.
func (e *threeServers) hurt(t *testing.T, d *dice) {
	i := d.n(len(e.servers))
	_ = e.servers[i].Close()
	time.Sleep(d.between(0, time.Second))
	e.start(t, i)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.servers[i].Ready(ctx); err != nil { // or the next to go could be one too many
		t.Error(err)
	}
}
