// Package server answers the HTTP requests of all clients: WebSockets, event
// streams, polls, and the POSTs of those who read a stream or poll. It checks origin and
// identity, and gives each connection its client socket, which package
// clientsocket carries from then on. It knows nothing of topics, but for the URL of
// a stream that names the topics to join.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/dialect"
	"github.com/go-chime/chime/internal/origin"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// MaxGrace bounds Config.Grace; NoGrace as Config.Grace lets nobody come back, and
// AtOnce as Config.Drain spreads nothing.
const (
	MaxGrace = 2 * time.Minute
	NoGrace  = time.Duration(math.MinInt64)
	AtOnce   = time.Duration(math.MinInt64)
)

const defaultGrace = 15 * time.Second

// Config says how a Server treats its clients. Connect and Accept are needed.
type Config struct {
	// Connect says who a request comes from; a *transport.RefusedError says with
	// which status it is refused. Any other error goes to the log only, and the
	// client, which gets 503, is asked to come back.
	Connect func(*http.Request) (transport.Identity, error)
	// Accept makes the channel side of a client.
	Accept transport.Acceptor
	// Detach returns the context of a client socket from that of its request,
	// which ends with the request. Nil is context.WithoutCancel.
	Detach func(context.Context) context.Context
	// Origins besides the server's own, as https://host[:port] or host[:port].
	Origins []string
	Limits  transport.Limits
	// Grace is how long a client of the chime dialect whose connection has broken
	// may take to come back: up to MaxGrace, 0 for the default of 15 s, or NoGrace.
	Grace time.Duration
	// Drain is over how long the ends of client sockets are spread when the server
	// shuts down: 0 for the default of 10 s, or AtOnce.
	Drain time.Duration
	// Node is the ID of this node, which the secrets that it gives its clients begin with;
	// "" if there are no others.
	Node string
	// Elsewhere sends requests for the client sockets of other nodes there; nil if there
	// are none.
	Elsewhere Elsewhere
	Stats     *stats.Stats  // nil: of its own
	Queues    *queue.Budget // of all clients; nil: of its own, as Limits has it
	Log       *slog.Logger  // nil is slog's default
}

// Server answers the requests of all clients, and owns every goroutine and
// connection that comes of them. All its methods are safe for concurrent use.
type Server struct {
	admission admission
	entrance  entrance
	clients   *clientsocket.Clients
	uploads   uploads
	polls     polls
	phoenix   phoenixPolls
	waits     waits
	others    others
	limits    transport.Limits
	drain     drain
	bodies    bodies
	stats     *stats.Stats
	log       *slog.Logger
	obstacles obstacles
	tasks     task.Group
}

// New returns a server, or an error that names what is missing or out of range
// in its configuration.
func New(cfg Config) (*Server, error) {
	if err := cfg.Limits.Check(); err != nil {
		return nil, err
	}
	switch {
	case cfg.Connect == nil, cfg.Accept == nil:
		return nil, errors.New("a server needs Connect and Accept")
	case cfg.Grace == NoGrace:
		cfg.Grace = 0
	case cfg.Grace < 0, cfg.Grace > MaxGrace:
		return nil, fmt.Errorf("grace period: %v: want at most %v, or NoGrace for none", cfg.Grace, MaxGrace)
	case cfg.Grace == 0:
		cfg.Grace = defaultGrace
	}
	switch {
	case cfg.Drain == AtOnce:
		cfg.Drain = 0
	case cfg.Drain < 0:
		return nil, fmt.Errorf("drain window: %v: want 0 for %v, more, or AtOnce", cfg.Drain, defaultDrain)
	case cfg.Drain == 0:
		cfg.Drain = defaultDrain
	}
	origins, err := origin.Parse(cfg.Origins)
	if err != nil {
		return nil, err
	}
	s := &Server{limits: cfg.Limits.WithDefaults(), stats: cfg.Stats, log: cfg.Log}
	if s.stats == nil {
		s.stats = &stats.Stats{}
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if cfg.Detach == nil {
		cfg.Detach = context.WithoutCancel
	}
	s.obstacles.log = s.log
	s.clients = clientsocket.New(clientsocket.Config{
		Accept: cfg.Accept, Node: cfg.Node, Limits: s.limits, Grace: cfg.Grace, Heartbeat: dialect.Heartbeat, Tasks: &s.tasks, Stats: s.stats, Queues: cfg.Queues, Slow: tellSlow(s.log),
	})
	s.others = others{cfg.Node, cfg.Elsewhere, &s.clients.Registry}
	s.drain = drain{cfg.Drain, s.clients}
	s.uploads = uploads{most: s.limits.BatchBytes, stats: s.stats}
	s.admission = admission{
		connect: cfg.Connect, origins: origins, clients: s.clients, stats: s.stats, log: s.log,
		connects: newToll(s.limits.ConnectsPerSecond, s.limits.AddressConnectsPerSecond),
		posts:    newToll(s.limits.PostsPerSecond, s.limits.AddressPostsPerSecond),
	}
	s.entrance = entrance{s.clients, cfg.Detach, s.stats}
	s.polls = polls{admission: &s.admission, others: &s.others, entrance: &s.entrance, limits: s.limits, tasks: &s.tasks}
	s.phoenix = phoenixPolls{polls: &s.polls, uploads: &s.uploads, bodies: &s.bodies, log: s.log}
	s.waits = waits{admission: &s.admission, others: &s.others, bodies: &s.bodies, clients: s.clients, stats: s.stats, stuckFor: s.limits.StuckFor, tasks: &s.tasks}
	return s, nil
}

// tellSlow logs what a client was too slow for.
func tellSlow(log *slog.Logger) func(*clientsocket.ClientSocket, clientsocket.Slowness) {
	return func(c *clientsocket.ClientSocket, slow clientsocket.Slowness) {
		log.Debug("client was slow", "client", c.ID(), "transport", c.Transport(), "cause", slow.Cause.String(),
			"waiting", slow.Waiting, "allowed", slow.Allowed, "total", slow.Taken)
	}
}

// Disconnect ends the client sockets of an identity, detached ones too, with
// code 1001, and returns how many.
func (s *Server) Disconnect(identity string, reason string) int {
	clients := s.clients.Registry.Of(identity)
	for _, c := range clients {
		c.Close(wire.CloseDisconnect, reason, transport.Kicked)
	}
	return len(clients)
}

// BeginRound is Flushers.BeginRound.
func (s *Server) BeginRound() <-chan struct{} { return s.clients.BeginRound() }

// Len returns the number of open client sockets, detached ones included.
func (s *Server) Len() int { return s.clients.Registry.Len() }

// QueueBytes returns what the queues of all clients hold, about.
func (s *Server) QueueBytes() int { return s.clients.QueueBytes() }

// Draining reports whether new clients are refused.
func (s *Server) Draining() bool { return s.clients.Registry.Draining() }
