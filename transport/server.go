package transport

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
)

// Config says how a Server treats its clients. Connect, Accept and Log are needed.
type Config struct {
	// Connect says who a request comes from; a *RefusedError says with which
	// status it is refused. Any other error goes to the log only, and the client,
	// which gets 503, is asked to come back.
	Connect func(*http.Request) (Identity, error)
	// Accept makes the channel side of a client.
	Accept Acceptor
	// Detach returns the context of a client socket from that of its request,
	// which ends with the request. Nil is context.WithoutCancel.
	Detach func(context.Context) context.Context
	// Origins besides the server's own, as https://host[:port] or host[:port].
	Origins []string
	Limits  Limits
	// Grace is how long a client of the chime dialect whose connection has broken
	// may take to come back; zero is 15 s, negative none, 2 min the most.
	Grace time.Duration
	Log   *slog.Logger
}

// Server answers the requests of all clients, and owns every goroutine and
// connection that comes of them. All its methods are safe for concurrent use.
type Server struct {
	connect  func(*http.Request) (Identity, error)
	accept   Acceptor
	detach   func(context.Context) context.Context
	origins  origins
	limits   Limits
	grace    time.Duration
	log      *slog.Logger
	tasks    task.Group
	flushers *flushers
	opened   atomic.Uint64

	mu       sync.RWMutex       // guards what follows; taken before any client's mu
	clients  map[string]*client // by each secret that may be good
	open     int                // clients that have not ended
	draining bool
}

// NewServer returns a server, or an error that names an origin it can't read or
// a grace period that is too long.
func NewServer(cfg Config) (*Server, error) {
	switch {
	case cfg.Grace > MaxGrace:
		return nil, fmt.Errorf("grace period of %v: %v is the most", cfg.Grace, MaxGrace)
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
		grace:   max(cfg.Grace, 0),
		log:     cfg.Log,
		clients: map[string]*client{},
	}
	if s.detach == nil {
		s.detach = context.WithoutCancel
	}
	s.flushers = newFlushers(&s.tasks)
	return s, nil
}

// RefusedError is an error of Config.Connect that the client may read.
type RefusedError struct {
	Status int    // HTTP: 401, 403, 429 …; what is neither 4xx nor 5xx becomes 403
	Reason string // for the client
}

func (e *RefusedError) Error() string { return e.Reason }

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
	clients := s.list()
	s.mu.Unlock()
	for i, c := range clients {
		if c.chime {
			// Spread over the time it takes them to come back, so that the next
			// server is not met by all at once.
			spread := drainRetry * time.Duration(i) / time.Duration(len(clients))
			c.sendControl(wire.NewDrain((drainRetry + spread).Milliseconds()))
		}
		c.Close(wire.CloseDrain, "drain", Drained)
	}
	return s.tasks.Wait(ctx)
}

// list returns all clients. s.mu is held.
func (s *Server) list() []*client {
	list := make([]*client, 0, len(s.clients))
	seen := make(map[*client]bool, len(s.clients))
	for _, c := range s.clients {
		if c.listed && !seen[c] {
			seen[c] = true
			list = append(list, c)
		}
	}
	return list
}

// Disconnect ends the client sockets of an identity, detached ones too, with
// code 1001, and returns how many.
func (s *Server) Disconnect(identity string, reason string) int {
	s.mu.RLock()
	clients := s.list()
	s.mu.RUnlock()
	n := 0
	for _, c := range clients {
		if c.who == identity {
			c.Close(wire.CloseDisconnect, reason, Kicked)
			n++
		}
	}
	return n
}

// Len returns the number of open client sockets, detached ones included.
func (s *Server) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.open
}

// enter gives connection n its client: the one whose secret it came with, if
// that can be resumed, or else a new one of identity id, for which fresh is the
// memory if it is not nil. From now on it can be closed.
func (s *Server) enter(n *connection, fresh *client, r *http.Request, id Identity, chime bool, secret string) error {
	n.lastWrite.Store(time.Now().UnixNano())
	if former := s.find(secret); former != nil && chime && former.who == id.ID && former.addCandidate(n, secret) {
		former.refresh(id.Expires)
		return nil
	}
	if fresh == nil {
		fresh = &client{}
	}
	s.initClient(fresh, r, id, chime)
	fresh.conn, fresh.stream = n, n.line.transport() == SSE
	n.c = fresh
	return s.register(fresh)
}

// initClient makes c a client socket that is not yet known to anybody.
func (s *Server) initClient(c *client, r *http.Request, id Identity, chime bool) {
	shard := s.opened.Add(1) % uint64(len(s.flushers.shards))
	c.id = randomText(16)
	c.secret = randomText(24)
	c.who, c.value = id.ID, id.Value
	c.refresh(id.Expires)
	c.chime = chime
	c.keeps = chime && s.grace > 0
	c.ctx = s.detach(r.Context())
	c.server = s
	c.flusher = &s.flushers.shards[shard]
}

// register makes c known and greets it.
func (s *Server) register(c *client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return errDraining
	}
	if c.chime {
		_ = c.Send(s.hello(c, c.secret, false), "") // before whatever Accept sends
	}
	c.receiver = s.accept(c)
	s.clients[c.secret] = c
	c.listed = true
	s.open++
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
		Transports: []string{WebSocket, SSE},
		Resumed:    resumed,
		Received:   c.received.Load(),
		Sent:       c.queue.sent(),
	}.Message()
}

// forget reports whether c was known until now.
func (s *Server) forget(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.listed {
		return false
	}
	c.listed = false
	s.open--
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(s.clients, c.secret)
	if c.rare != nil {
		for _, is := range c.rare.issued {
			delete(s.clients, is.secret)
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
	return s.clients[secret]
}

func (s *Server) index(secret string, c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[secret] = c
}

func (s *Server) unindex(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, secret)
}

// unindexLater is unindex for who holds a client's mu. Until then the client
// itself refuses the secret.
func (s *Server) unindexLater(secret string) {
	s.tasks.Go(func() { s.unindex(secret) })
}

// mayResume reports whether a request may come with secret, and answers one that
// may not: the secret belongs to another identity's client socket.
func (s *Server) mayResume(w http.ResponseWriter, secret string, id Identity) bool {
	if former := s.find(secret); former != nil && former.who != id.ID {
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
func (s *Server) identify(r *http.Request) (Identity, *RefusedError) {
	id, err := s.connect(r)
	if err == nil {
		return id, nil
	}
	refused, ok := errors.AsType[*RefusedError](err)
	switch {
	case !ok || refused == nil:
		// Its database may be down. A 403 would send a client away for good.
		s.log.Error("connect failed", "error", err)
		refused = errUnavailable
	case refused.Status < 400 || refused.Status > 599:
		// A success would tell the client that it is in, and what is no status panics.
		s.log.Error("connect refused with a status that refuses nothing", "status", refused.Status)
		refused = &RefusedError{http.StatusForbidden, refused.Reason}
	}
	return Identity{}, refused
}

// errUnavailable asks a client to come back.
var errUnavailable = &RefusedError{http.StatusServiceUnavailable, "unavailable"}

// turnAway answers a refused request.
func turnAway(w http.ResponseWriter, e *RefusedError) {
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
	s.log.Warn("origin refused", "host", r.Host, "origin", r.Header.Get("Origin"), "allow_with", "WithOrigins")
	refuse(w, http.StatusForbidden, "origin not allowed")
	return false
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
