package chime

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/dialect"
	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// Identity is who a client is, as WithConnect says. Handlers find it at
// Socket.Identity, and Disconnect takes its ID.
type Identity = transport.Identity

// Limits bound what one client may make the server hold. Zero means the
// default in each field.
type Limits = transport.Limits

// Option is a decision for NewRouter.
type Option func(*config)

type config struct {
	connect   func(*http.Request) (Identity, error)
	named     bool // WithConnect was given
	anonymous bool // WithAnonymous was given
	store     store.Store
	broker    broker.Broker
	origins   []string
	limits    Limits
	grace     time.Duration
	log       *slog.Logger
}

// WithConnect names the function that says who a client is. It is called
// before any upgrade, and again for every POST of the client and whenever it
// comes back. Its identity must then have the same ID; the new Expires counts,
// the Value stays. An identity that has expired is refused with 401. The function
// runs behind the app's middleware, so it can read what that put into the
// request's context. It refuses with RefuseConnect. Any other error is a failure,
// not a refusal: it is logged, and the client, which gets 503, comes back later.
// Given twice, the last one counts.
func WithConnect(connect func(*http.Request) (Identity, error)) Option {
	return func(c *config) { c.connect, c.named = connect, true }
}

// WithAnonymous lets everybody connect, as nobody in particular. Channels can
// still refuse a join. It does not go with WithConnect.
func WithAnonymous() Option {
	return func(c *config) {
		c.connect = func(*http.Request) (Identity, error) { return Identity{}, nil }
		c.anonymous = true
	}
}

// WithStore keeps the history of channels that have one. The Router does not
// close the store. Without it a channel with a channel.History is a mistake.
// NewRouter panics if WithBroker is given too: a broker has a history of its own.
func WithStore(s store.Store) Option { return func(c *config) { c.store = s } }

// WithBroker publishes through b, which may join several nodes, and which has the
// history of channels that have one: WithStore is then a mistake. A broker has one
// Router, which starts it and does not close it. Without it topics are those of
// this process.
func WithBroker(b broker.Broker) Option { return func(c *config) { c.broker = b } }

// WithOrigins allows pages of other origins to connect: "https://app.example.com",
// or "app.example.com" for any scheme. Each is named in full: NewRouter panics
// at a wildcard or a path. Without it only pages of the server's own origin may.
func WithOrigins(origins ...string) Option {
	return func(c *config) { c.origins = append(c.origins, origins...) }
}

// WithLimits replaces the default limits, those that are not zero. NewRouter
// panics if a limit is negative, or if BatchBytes has no room for a frame of
// MessageBytes.
func WithLimits(l Limits) Option { return func(c *config) { c.limits = l } }

// WithGrace says how long a client whose connection has broken may take to come
// back, on any transport, before it has left: up to 2 min, 0 for the default of
// 15 s, or [NoGrace]. Meanwhile it is a member of its topics, and what is
// sent to it waits. Only clients of the chime dialect, such as chime.js, can come
// back; all others have left when their connection breaks. It panics if d is out of
// range.
func WithGrace(d time.Duration) Option {
	return func(c *config) {
		if d != NoGrace && d < 0 || d > server.MaxGrace {
			panic(fmt.Sprintf("chime: WithGrace(%v): want 0 to %v, or NoGrace", d, server.MaxGrace))
		}
		c.grace = d
	}
}

// NoGrace is for [WithGrace]: a client has left when its connection breaks.
const NoGrace = server.NoGrace

// WithLogger logs there instead of to slog's default. At Error is what failed:
// WithConnect with an error that is not from RefuseConnect, a handler with one that
// is not from channel.Refuse, a handler that panicked, a history that can't be
// read. At Warn is what is wrong with the application or its proxy: a refused
// origin, a join neither accepted nor refused, a ResponseWriter that can't be
// hijacked or flushed. A client's mistakes are at Debug. Chime logs no payload,
// token or secret; it does log the texts of the application's errors and panics.
func WithLogger(log *slog.Logger) Option { return func(c *config) { c.log = log } }

// RefuseConnect returns an error for WithConnect that refuses a request with an
// HTTP status (401, 403, 429 …) and a reason that the client may read.
func RefuseConnect(status int, reason string) error {
	return &transport.RefusedError{Status: status, Reason: reason}
}

// Token returns the bearer token of a request, wherever a client could put it:
// the Authorization header, the X-Phoenix-AuthToken header, or, for a WebSocket
// of a browser, the subprotocol. It is "" if there is none. A token in the URL
// is not looked for: URLs are logged.
func Token(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	if token := r.Header.Get("X-Phoenix-AuthToken"); token != "" {
		return token
	}
	return dialect.Token(r)
}
