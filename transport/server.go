package transport

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
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
	Log     *slog.Logger
}

// Server answers the requests of all clients, and owns every goroutine and
// connection that comes of them. All its methods are safe for concurrent use.
type Server struct {
	connect  func(*http.Request) (Identity, error)
	accept   Acceptor
	detach   func(context.Context) context.Context
	origins  origins
	limits   Limits
	log      *slog.Logger
	tasks    task.Group
	flushers *flushers
	opened   atomic.Uint64

	mu       sync.RWMutex // guards clients and draining
	clients  map[string]*client
	draining bool
}

// NewServer returns a server, or an error that names an origin it can't read.
func NewServer(cfg Config) (*Server, error) {
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
			_ = c.Send(wire.NewDrain((drainRetry + spread).Milliseconds()), "")
		}
		c.Close(wire.CloseDrain, "drain", Drained)
	}
	return s.tasks.Wait(ctx)
}

// list returns all clients. s.mu is held.
func (s *Server) list() []*client {
	list := make([]*client, 0, len(s.clients))
	for _, c := range s.clients {
		list = append(list, c)
	}
	return list
}

// Disconnect ends the client sockets of an identity and returns how many.
func (s *Server) Disconnect(identity string, reason string) int {
	s.mu.RLock()
	clients := s.list()
	s.mu.RUnlock()
	n := 0
	for _, c := range clients {
		if c.identity.ID == identity {
			c.Close(wire.CloseDisconnect, reason, Kicked)
			n++
		}
	}
	return n
}

// Len returns the number of open client sockets.
func (s *Server) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.clients)
}

// initClient makes c a client socket that is not yet known to anybody. C is
// part of its line: one object for both is half the cost of two to the
// collector.
func (s *Server) initClient(c *client, r *http.Request, id Identity, chime bool, l line) {
	shard := s.opened.Add(1) % uint64(len(s.flushers.shards))
	c.id = randomText(16)
	c.secret = randomText(24)
	c.identity = id
	c.chime = chime
	c.ctx = s.detach(r.Context())
	c.server = s
	c.flusher = &s.flushers.shards[shard]
	c.line = l
	c.lastWrite.Store(time.Now().UnixNano())
}

// register makes c known and greets it. From now on it can be closed.
func (s *Server) register(c *client) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return errDraining
	}
	c.receiver = s.accept(c)
	s.clients[c.secret] = c
	s.tasks.Add() // until its receiver is told of its end, by whom ever: Shutdown waits for that
	s.mu.Unlock()
	if c.chime {
		_ = c.Send(s.hello(c), "")
	}
	return nil
}

func (s *Server) hello(c *client) *wire.Message {
	return wire.Hello{
		ID: c.id, Secret: c.secret,
		HeartbeatMS: defaultHeartbeat.Milliseconds(),
		Limits: wire.HelloLimits{
			MessageBytes: s.limits.MessageBytes, BatchBytes: s.limits.BatchBytes,
			BatchMessages: s.limits.BatchMessages, Topics: s.limits.Topics,
		},
		Transports: []string{WebSocket, SSE},
	}.Message()
}

// forget reports whether c was known until now.
func (s *Server) forget(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.clients[c.secret]
	delete(s.clients, c.secret)
	return known
}

func (s *Server) find(secret string) *client {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.clients[secret]
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
