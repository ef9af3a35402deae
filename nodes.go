package chime

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/forward"
)

// WithNode says what this node is called and where the others reach its server, with a
// broker of several nodes: "http://10.0.0.7:4000", without a path. A client may come back
// by any node, as its load balancer likes: its request is then sent to the one that has its
// client socket, which needs no sticky sessions. Without WithNode a client that comes to
// another node begins anew there, with what it has missed. Name is for people; "" is the
// name of the host. Requests between nodes have the secrets and tokens of clients: let them
// travel in a network of your own, or by https. WithNode panics if at is not a URL of that
// kind.
func WithNode(name, at string) Option {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
		panic(fmt.Sprintf("chime: WithNode(%q): want http:// or https://, host and port alone", at))
	}
	return func(c *config) { c.node = broker.Node{Name: name, URL: u.Scheme + "://" + u.Host} }
}

// WithNodeTransport reaches other nodes by t: to check their certificates by another root,
// or to show one. Upgrades need HTTP/1.1, which an http.Transport uses for them whatever
// else it may. With HTTP/2 what clients do not read waits in the memory of their node.
func WithNodeTransport(t http.RoundTripper) Option { return func(c *config) { c.transport = t } }

// joined returns this node, and what reaches the others of its broker; nil if there are
// none.
func (c *config) joined() (self broker.Node, others *forward.Forwarder) {
	cluster, ok := c.broker.(broker.Cluster)
	if !ok {
		return broker.Node{}, nil
	}
	self = c.node
	if self.Name == "" {
		self.Name, _ = os.Hostname() // "" is a name as well
	}
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails; see crypto/rand
	self.ID, self.Key = base64.RawURLEncoding.EncodeToString(id[:]), rand.Text()
	return self, forward.New(forward.Config{
		Self: self, Nodes: cluster.Nodes, Transport: c.transport, StuckFor: c.limits.WithDefaults().StuckFor,
		Unreached: func(id, at string, why error) {
			c.log.Warn("another node can't be reached: its clients begin anew", "node", id, "url", at, "error", why)
		},
	})
}
