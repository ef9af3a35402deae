package contract

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

// Nodes are three that have one history.
func Nodes(_ *testing.T, s store.Store) []broker.Broker {
	engine := brokertest.NewEngine(local.New(s))
	return []broker.Broker{engine.Node(), engine.Node(), engine.Node()}
}

// cluster is where the nodes of a stage reach each other, and where its clients come in:
// each request at another node, as with a load balancer that knows no sessions.
type cluster struct {
	apps    []http.Handler
	servers []*httptest.Server
	dials   []func() (net.Conn, error)
	between *http.Transport
	next    atomic.Uint64
}

func newCluster(nodes int) *cluster {
	c := &cluster{}
	for range nodes {
		pipes := raw.NewPipes()
		c.dials = append(c.dials, pipes.Dial)
		c.servers = append(c.servers, &httptest.Server{Listener: pipes})
	}
	c.between = &http.Transport{DialContext: func(_ context.Context, _, at string) (net.Conn, error) {
		host, _, _ := strings.Cut(at, ".")
		i, err := strconv.Atoi(strings.TrimPrefix(host, "node-"))
		if err != nil {
			return nil, err
		}
		return c.dials[i]()
	}}
	return c
}

// options are those of the Router of a node.
func (c *cluster) options(node int) []chime.Option {
	name := fmt.Sprint("node-", node)
	return []chime.Option{chime.WithNode(name, "http://"+name+".example"), chime.WithNodeTransport(c.between)}
}

// add serves the app of one more node to the others.
func (c *cluster) add(app http.Handler) {
	s := c.servers[len(c.apps)]
	s.Config = &http.Server{Handler: app}
	s.Start()
	c.apps = append(c.apps, app)
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.apps[c.next.Add(1)%uint64(len(c.apps))].ServeHTTP(w, r)
}

func (c *cluster) close() {
	c.between.CloseIdleConnections()
	for _, s := range c.servers {
		s.Close()
	}
}
