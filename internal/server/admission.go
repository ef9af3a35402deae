package server

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/origin"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// admission decides who may ask for what, and answers those it refuses. It opens
// nothing. It never logs a header but Host and Origin: tokens are in the others.
type admission struct {
	connect  func(*http.Request) (transport.Identity, error)
	origins  origin.Rules
	clients  *clientsocket.Clients
	stats    *stats.Stats
	connects toll
	posts    toll
	log      *slog.Logger

	strangers strangers
}

// caller is who asks for a connection.
type caller struct {
	id     transport.Identity
	from   string // the address that it is counted by if it is anonymous
	speaks stats.Dialect
	began  mono.Instant               // when the request came
	secret string                     // of the client socket to go on with; "" for a new one
	former *clientsocket.ClientSocket // which that is; nil if nobody knows the secret
}

// origin checks the origin of a request, and answers one that it refuses. It
// comes before all else: a foreign page learns nothing, and an allowed one can
// read whatever is answered.
func (a *admission) origin(w http.ResponseWriter, r *http.Request) bool {
	if a.origins.Allow(r) {
		share(w, r)
		return true
	}
	a.stats.Refusals.Add(stats.RefusedOrigin)
	a.strangers.name(a.log, r.Host, r.Header.Get("Origin"))
	refuse(w, http.StatusForbidden, "origin not allowed")
	return false
}

// connection finds out who asks for a connection, or how that is refused.
func (a *admission) connection(r *http.Request, speaks stats.Dialect, secret string) (caller, *refusal) {
	began := mono.Now()
	from, refused := a.caller(r, secret, false)
	if refused != nil {
		return caller{}, refused
	}
	from.speaks, from.began = speaks, began
	if wait := a.connects.try(from.id, r); wait > 0 {
		a.stats.Refusals.Add(stats.RefusedConnect)
		return caller{}, &refusal{http.StatusTooManyRequests, "too many connects", wait}
	}
	if from.former != nil {
		return from, nil
	}
	if a.clients.Registry.CountsAddresses() {
		from.from = addressOf(r)
	}
	switch err := a.clients.Registry.Room(from.id.ID, from.from); {
	case errors.Is(err, clientsocket.ErrIdentityFull):
		a.stats.Refusals.Add(refusalOf(err))
		return caller{}, &refusal{http.StatusTooManyRequests, err.Error(), fullRetry}
	case errors.Is(err, clientsocket.ErrFull):
		a.stats.Refusals.Add(refusalOf(err))
		return caller{}, &refusal{http.StatusServiceUnavailable, err.Error(), fullRetry}
	}
	return from, nil // the end of a server that drains meanwhile is said when it is entered
}

// fullRetry is when those are asked to come back for whom there is no room.
const fullRetry = 10 * time.Second

// post finds out who sends a POST or polls, and that its client is there, or how that is
// refused.
func (a *admission) post(r *http.Request, secret string) (caller, *refusal) {
	from, refused := a.caller(r, secret, true)
	if refused != nil {
		if c := a.clients.Registry.Find(secret); c != nil && refused == unavailable {
			c.Heard(secret) // nobody can say who it is, but it is there
		}
		return caller{}, refused
	}
	if refused := a.pace(from.id, r); refused != nil {
		return caller{}, refused
	}
	if from.former != nil {
		from.former.Refresh(from.id.Expires)
	}
	return from, nil
}

// pace refuses a POST or a poll of those who ask too often.
func (a *admission) pace(id transport.Identity, r *http.Request) *refusal {
	wait := a.posts.try(id, r)
	if wait == 0 {
		return nil
	}
	a.stats.Refusals.Add(stats.RefusedPost)
	return &refusal{http.StatusTooManyRequests, "too many POSTs", wait}
}

// caller finds out who sends a request, or how that is refused. While the server
// drains, nobody gets a connection; a client that has not been drained yet may still
// post, and one that has reads so on its stream.
func (a *admission) caller(r *http.Request, secret string, posts bool) (caller, *refusal) {
	if registry := &a.clients.Registry; registry.Draining() && !(posts && registry.Find(secret) != nil) {
		a.stats.Refusals.Add(stats.RefusedDraining)
		return caller{}, draining
	}
	id, refused := a.identify(r, secret)
	if refused != nil {
		return caller{}, refused
	}
	from := caller{id: id, secret: secret, former: a.clients.Registry.Find(secret)}
	if from.former != nil && from.former.Identity().ID != id.ID {
		a.stats.Refusals.Add(stats.RefusedForeign)
		return caller{}, foreign
	}
	return from, nil
}

// identify finds out from whom a request comes, or how it is refused.
func (a *admission) identify(r *http.Request, secret string) (transport.Identity, *refusal) {
	id, err := a.connect(r)
	if err == nil {
		id.ID = strings.Clone(id.ID) // it may be a part of the request line, and would keep all of it
		if id.Expires.IsZero() || id.Expires.After(time.Now()) {
			return id, nil
		}
		// WithConnect has said that the time of a client socket of theirs is over, too.
		if c := a.clients.Registry.Find(secret); c != nil && c.Identity().ID == id.ID {
			c.CloseWith(secret, wire.CloseDisconnect, "expired", transport.Expired)
		}
		a.stats.Refusals.Add(stats.RefusedByConnect)
		return transport.Identity{}, expired
	}
	refused, ok := errors.AsType[*transport.RefusedError](err)
	if ok && refused != nil {
		a.stats.Refusals.Add(stats.RefusedByConnect)
	}
	switch {
	case !ok || refused == nil:
		// Its database may be down. A 403 would send a client away for good.
		a.log.Error("connect failed", "error", err)
		a.stats.Refusals.Add(stats.RefusedUnavailable)
		return transport.Identity{}, unavailable
	case refused.Status < 400 || refused.Status > 599:
		// A success would tell the client that it is in, and what is no status panics.
		a.log.Error("connect refused with a status that refuses nothing", "status", refused.Status)
		return transport.Identity{}, &refusal{status: http.StatusForbidden, reason: refused.Reason}
	}
	return transport.Identity{}, &refusal{status: refused.Status, reason: refused.Reason}
}

var (
	// unavailable and draining ask a client to come back.
	unavailable = &refusal{http.StatusServiceUnavailable, "unavailable", drainRetry}
	draining    = &refusal{http.StatusServiceUnavailable, clientsocket.ErrDraining.Error(), drainRetry}
	// busy refuses a POST beside another with the same secret.
	busy = &refusal{http.StatusTooManyRequests, "another POST of this client is under way", time.Second}
	// unreadable refuses a POST whose body did not come.
	unreadable = &refusal{status: http.StatusBadRequest, reason: "body could not be read"}
	// expired refuses an identity that has expired.
	expired = &refusal{status: http.StatusUnauthorized, reason: "expired"}
	// foreign refuses a secret of another identity's client socket.
	foreign = &refusal{status: http.StatusForbidden, reason: "this client socket belongs to another identity"}
)

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
func share(w http.ResponseWriter, r *http.Request) {
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
	if !s.admission.origin(w, r) {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID, X-Phoenix-AuthToken, "+headerPollToken+", "+headerSecret+", "+headerReceived+", "+headerHold)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
