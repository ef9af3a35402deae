package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// Config says how a Server treats its clients. Connect and Accept are needed.
type Config struct {
	// Connect says who a request comes from; a *RefusedError says with which
	// status it is refused. Any other error goes to the log only, and the client,
	// which gets 503, is asked to come back.
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
	Log   *slog.Logger // nil is slog's default
}

// Server answers the requests of all clients, and owns every goroutine and
// connection that comes of them. All its methods are safe for concurrent use.
type Server struct {
	connect  func(*http.Request) (transport.Identity, error)
	accept   transport.Acceptor
	detach   func(context.Context) context.Context
	origins  origins
	limits   transport.Limits
	grace    time.Duration
	log      *slog.Logger
	tasks    task.Group
	flushers *flushers
	opened   atomic.Uint64

	mu       sync.RWMutex         // guards what follows; taken before any client's mu
	clients  map[*client]struct{} // that have not ended
	secrets  map[string]*client   // whose each one may be
	draining bool
}

// NewServer returns a server, or an error that names what is missing or can't
// be meant in its configuration.
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
		return nil, fmt.Errorf("grace period is %v: want 0 to %v, or NoGrace", cfg.Grace, MaxGrace)
	case cfg.Grace == 0:
		cfg.Grace = defaultGrace
	}
	o, err := parseOrigins(cfg.Origins)
	if err != nil {
		return nil, err
	}
	s := &Server{
		connect: cfg.Connect,
		accept:  cfg.Accept,
		detach:  cfg.Detach,
		origins: o,
		limits:  cfg.Limits.WithDefaults(),
		grace:   cfg.Grace,
		log:     cfg.Log,
		clients: map[*client]struct{}{},
		secrets: map[string]*client{},
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.detach == nil {
		s.detach = context.WithoutCancel
	}
	s.flushers = newFlushers(&s.tasks)
	return s, nil
}

// errDraining refuses new clients once Shutdown has begun.
var errDraining = errors.New("shutting down")

// drainRetry is when clients are asked to come back.
const drainRetry = 2 * time.Second

// Shutdown ends all client sockets with code 1012, asks their clients to come
// back, refuses new ones, and waits until every connection and goroutine is
// done or ctx ends, whose error it then returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	clients := slices.Collect(maps.Keys(s.clients))
	s.mu.Unlock()
	for i, c := range clients {
		if c.chime {
			// Spread over the time it takes them to come back, so that the next
			// server is not met by all at once.
			spread := drainRetry * time.Duration(i) / time.Duration(len(clients))
			c.sendControl(wire.NewDrain((drainRetry + spread).Milliseconds()))
		}
		c.Close(wire.CloseDrain, "drain", transport.Drained)
	}
	return s.tasks.Wait(ctx)
}

// Disconnect ends the client sockets of an identity, detached ones too, with
// code 1001, and returns how many.
func (s *Server) Disconnect(identity string, reason string) int {
	var clients []*client
	s.mu.RLock()
	for c := range s.clients {
		if c.who == identity {
			clients = append(clients, c)
		}
	}
	s.mu.RUnlock()
	for _, c := range clients {
		c.Close(wire.CloseDisconnect, reason, transport.Kicked)
	}
	return len(clients)
}

// Len returns the number of open client sockets, detached ones included.
func (s *Server) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.clients)
}

// caller is who asks for a connection.
type caller struct {
	id     transport.Identity
	chime  bool    // in the chime dialect
	secret string  // of the client socket to go on with; "" for a new one
	former *client // which that is; nil if nobody knows the secret
}

// together makes a connection's line and, unless its caller knows a client, a
// client in the same object: half the cost of two to the collector.
func together[L any](from caller) (*L, *client) {
	if from.former != nil {
		return new(L), nil
	}
	both := new(struct {
		line   L
		client client
	})
	return &both.line, &both.client
}

// enter gives connection n its client: the one that its caller goes on with, if
// that can be resumed, or else a new one, for which fresh is the memory if it is
// not nil. From now on it can be closed.
func (s *Server) enter(n *connection, fresh *client, r *http.Request, from caller) error {
	n.lastWrite.Store(time.Now().UnixNano())
	if from.former != nil && from.former.addCandidate(n, from.secret) {
		from.former.refresh(from.id.Expires)
		return nil
	}
	if fresh == nil {
		fresh = &client{}
	}
	s.initClient(fresh, r, from)
	fresh.conn, fresh.stream = n, n.line.transport() == transport.SSE
	n.c = fresh
	return s.register(fresh)
}

// initClient makes c a client socket that is not yet known to anybody.
func (s *Server) initClient(c *client, r *http.Request, from caller) {
	shard := s.opened.Add(1) % uint64(len(s.flushers.shards))
	c.id = randomText(16)
	c.who, c.value = from.id.ID, from.id.Value
	c.refresh(from.id.Expires)
	c.chime = from.chime
	if c.chime {
		c.secret = randomText(24)
	}
	c.keeps = c.chime && s.grace > 0
	c.ctx = s.detach(r.Context())
	c.server = s
	c.flusher = &s.flushers.shards[shard]
}

// register makes c known, greets it and gives it its receiver. Whoever speaks
// for it or ends it meanwhile waits for that; the server does not, since Accept
// is not ours.
func (s *Server) register(c *client) error {
	c.upstream.Lock()
	defer c.upstream.Unlock()
	if err := s.enlist(c); err != nil {
		return err
	}
	c.receiver = s.accept(c)
	return nil
}

func (s *Server) enlist(c *client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return errDraining
	}
	if c.chime {
		_ = c.Send(s.hello(c, c.secret, false), "") // before whatever Accept sends
		s.secrets[c.secret] = c
	}
	s.clients[c] = struct{}{}
	s.tasks.Add() // until its receiver is told of its end, by whom ever: Shutdown waits for that
	return nil
}

// hello returns what greets c, whose mu is held unless nobody knows it yet.
func (s *Server) hello(c *client, secret string, resumed bool) *wire.Message {
	return wire.Hello{
		ID: c.id, Secret: secret,
		HeartbeatMS: defaultHeartbeat.Milliseconds(),
		GraceMS:     s.grace.Milliseconds(),
		Limits: wire.HelloLimits{
			MessageBytes: s.limits.MessageBytes, BatchBytes: s.limits.BatchBytes,
			BatchMessages: s.limits.BatchMessages, Topics: s.limits.Topics,
		},
		Transports: []string{transport.WebSocket, transport.SSE},
		Resumed:    resumed,
		Received:   c.received.Load(),
		Sent:       c.queue.sent(),
	}.Message()
}

// forget reports whether c was known until now.
func (s *Server) forget(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.clients[c]; !known {
		return false
	}
	delete(s.clients, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(s.secrets, c.secret)
	if c.rare != nil {
		for _, is := range c.rare.issued {
			delete(s.secrets, is.secret)
		}
	}
	return true
}

// find returns whom a secret may belong to. Only the client knows whether it is
// still good.
func (s *Server) find(secret string) *client {
	if secret == "" {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.secrets[secret]
}

func (s *Server) index(secret string, c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[secret] = c
}

func (s *Server) unindex(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.secrets, secret)
}

// unindexLater is unindex for who holds a client's mu. Until then the client
// itself refuses the secret.
func (s *Server) unindexLater(secret string) {
	s.tasks.Go(func() { s.unindex(secret) })
}

// owns reports whether id may speak for former, the client that its secret leads
// to, or nil; a request of another identity's is answered.
func owns(w http.ResponseWriter, id transport.Identity, former *client) bool {
	if former != nil && former.who != id.ID {
		refuse(w, http.StatusForbidden, "this client socket belongs to another identity")
		return false
	}
	return true
}

func (s *Server) isDraining() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.draining
}

// identify finds out from whom a request comes, or how it is refused.
func (s *Server) identify(r *http.Request, secret string) (transport.Identity, *transport.RefusedError) {
	id, err := s.connect(r)
	if err == nil && !id.Expires.IsZero() && !id.Expires.After(time.Now()) {
		s.expire(id, secret)
		return transport.Identity{}, errExpired
	}
	if err == nil {
		return id, nil
	}
	refused, ok := errors.AsType[*transport.RefusedError](err)
	switch {
	case !ok || refused == nil:
		// Its database may be down. A 403 would send a client away for good.
		s.log.Error("connect failed", "error", err)
		refused = errUnavailable
	case refused.Status < 400 || refused.Status > 599:
		// A success would tell the client that it is in, and what is no status panics.
		s.log.Error("connect refused with a status that refuses nothing", "status", refused.Status)
		refused = &transport.RefusedError{Status: http.StatusForbidden, Reason: refused.Reason}
	}
	return transport.Identity{}, refused
}

// expire ends the client that a secret is good for, if it is id's: WithConnect
// has said that its time is over.
func (s *Server) expire(id transport.Identity, secret string) {
	if c := s.find(secret); c != nil && c.who == id.ID && c.admits(secret) {
		c.Close(wire.CloseDisconnect, "expired", transport.Expired)
	}
}

var (
	// errUnavailable asks a client to come back.
	errUnavailable = &transport.RefusedError{Status: http.StatusServiceUnavailable, Reason: "unavailable"}
	// errExpired refuses a client whose identity has ended before it began.
	errExpired = &transport.RefusedError{Status: http.StatusUnauthorized, Reason: "expired"}
)

// turnAway answers a refused request.
func turnAway(w http.ResponseWriter, e *transport.RefusedError) {
	if e == errUnavailable {
		busy(w, e.Status, e.Reason)
		return
	}
	refuse(w, e.Status, e.Reason)
}

// fromHere checks the origin of a request, and answers one that it refuses. It
// comes before all else: a foreign page learns nothing, and an allowed one can
// read whatever is answered.
func (s *Server) fromHere(w http.ResponseWriter, r *http.Request) bool {
	if s.origins.allow(r) {
		s.share(w, r)
		return true
	}
	s.log.Warn("origin refused", "host", brief(r.Host), "origin", brief(r.Header.Get("Origin")), "allow_with", "WithOrigins")
	refuse(w, http.StatusForbidden, "origin not allowed")
	return false
}

// brief bounds what anybody can have the log say.
func brief(s string) string {
	const most = 256
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// share lets the page that sent r read the answer (CORS), which a browser
// would keep from a page of another origin. The origin has been allowed.
func (s *Server) share(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "Retry-After")
	h.Add("Vary", "Origin")
}

// ServePreflight answers OPTIONS: a browser asks before it sends our headers
// from a page of another origin.
func (s *Server) ServePreflight(w http.ResponseWriter, r *http.Request, methods string) {
	w.Header().Set("Allow", methods)
	if !s.fromHere(w, r) {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID, "+headerSecret+", "+headerReceived)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// refuse answers with a status and {"reason":…}.
func refuse(w http.ResponseWriter, status int, reason string) {
	answer(w, status, struct {
		Reason string `json:"reason"`
	}{reason})
}

// busy answers that the client should come back after a while.
func busy(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Retry-After", strconv.Itoa(int(drainRetry.Seconds())))
	refuse(w, status, reason)
}

func answer(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // a client that is gone needs no answer
}

// randomText returns n random bytes as base64url.
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails; see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b)
}
