package chime

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/dialect"
	"github.com/go-chime/chime/internal/quiet"
	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// Identity is who a client is, as WithConnect says. Handlers find it at
// Socket.Identity, and Disconnect takes its ID.
type Identity = transport.Identity

// Limits bound what one client can make the server keep in memory, and how often it may
// ask for something. Zero means the default, in each field.
type Limits = transport.Limits

// NoLimit in a field of Limits that takes it bounds nothing.
const NoLimit = transport.NoLimit

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
	drain     time.Duration
	log       *slog.Logger
	node      broker.Node       // but for its ID
	transport http.RoundTripper // to other nodes; nil: that of package forward
}

// configOf returns what options say, and panics at a mistake in them.
func configOf(options []Option) config {
	cfg := config{log: slog.Default()}
	for i, o := range options {
		if o == nil {
			panic(fmt.Sprintf("chime: NewRouter: option %d: nil: want an Option", i+1))
		}
		o(&cfg)
	}
	if wrong := cfg.check(); wrong != "" {
		panic("chime: NewRouter: " + wrong)
	}
	cfg.log = slog.New(quiet.New(cfg.log.Handler()))
	if cfg.broker == nil {
		cfg.broker = local.New(cfg.store)
	}
	return cfg
}

// check says which options make no sense together, or "".
func (c *config) check() string {
	switch err := c.limits.Check(); {
	case c.named && c.anonymous:
		return "WithConnect and WithAnonymous: want one of them"
	case c.named && c.connect == nil:
		return "WithConnect: nil: want a function"
	case c.connect == nil:
		return "nothing says who may connect: want WithConnect, or WithAnonymous for everybody"
	case c.log == nil:
		return "WithLogger: nil: want a logger"
	case err != nil:
		return fmt.Sprintf("WithLimits: %v", err)
	case c.broker != nil && c.store != nil:
		return "WithBroker and WithStore: want one of them, since a broker has a history of its own"
	}
	return ""
}

// WithConnect names the function that says who a client is. It is called before any
// upgrade, again for every POST of the client, and when the client resumes. It must
// then return the same ID; the new Expires counts, and the Value of the first call
// stays. It runs behind the app's middleware, and can read what that has put into the
// request's context. An identity that has expired is refused with 401. An error of
// RefuseConnect refuses the client; any other error is a failure, which the log has:
// the client gets 503, and comes back later. Given twice, the last one counts.
func WithConnect(connect func(*http.Request) (Identity, error)) Option {
	return func(c *config) { c.connect, c.named = connect, true }
}

// WithAnonymous lets everybody connect, with an Identity that is zero. Channels can
// still refuse a join. It excludes WithConnect.
func WithAnonymous() Option {
	return func(c *config) {
		c.connect = func(*http.Request) (Identity, error) { return Identity{}, nil }
		c.anonymous = true
	}
}

// WithStore has the history of channels kept in s, which the Router does not close.
// Without it a channel with a channel.History is a mistake. It excludes WithBroker,
// which has a history of its own.
func WithStore(s store.Store) Option { return func(c *config) { c.store = s } }

// WithBroker has messages published through b, which may join several nodes, and
// which has the history of channels. A broker has one Router, which starts it and does
// not close it. Without it a topic is one of this process.
func WithBroker(b broker.Broker) Option { return func(c *config) { c.broker = b } }

// WithOrigins allows pages of other origins to connect: "https://app.example.com",
// or "app.example.com" for any scheme. NewRouter panics at a wildcard or a path.
// Without it only pages of the server's own origin may connect.
func WithOrigins(origins ...string) Option {
	return func(c *config) { c.origins = append(c.origins, origins...) }
}

// WithLimits replaces the default limits with those of l that are not zero.
// NewRouter panics if one is out of range, or if BatchBytes has no room for a frame of
// MessageBytes.
func WithLimits(l Limits) Option { return func(c *config) { c.limits = l } }

// WithGrace says how long a client whose connection has broken may take to resume,
// on any transport, before it has left: at most 2 min, 0 for the default of 15 s, or
// [NoGrace] for none. Meanwhile it is a member of its topics, and what is sent to it
// waits. Only clients of the chime dialect, such as chime.js, can resume; all others
// have left when their connection breaks. WithGrace panics if d is out of range.
func WithGrace(d time.Duration) Option {
	return func(c *config) {
		if d != NoGrace && d < 0 || d > server.MaxGrace {
			panic(fmt.Sprintf("chime: WithGrace: %v: want at most %v, or NoGrace for none", d, server.MaxGrace))
		}
		c.grace = d
	}
}

// NoGrace is for [WithGrace]: a client has left when its connection breaks.
const NoGrace time.Duration = server.NoGrace

// WithDrainWindow says over how long the ends of client sockets are spread when the
// Router shuts down, so that their clients do not return all at once: 0 for the
// default of 10 s, or [AtOnce]. It takes less if there are fewer than a hundred for
// each second, and never more than half of the time that the context of Shutdown has.
// A client whose turn it is stays until what it has sent is answered, but for 6 s and,
// within the window or a quarter of it later, no longer.
// WithDrainWindow panics if d is negative.
func WithDrainWindow(d time.Duration) Option {
	return func(c *config) {
		if d != AtOnce && d < 0 {
			panic(fmt.Sprintf("chime: WithDrainWindow: %v: want 0 for 10s, more, or AtOnce", d))
		}
		c.drain = d
	}
}

// AtOnce is for [WithDrainWindow]: all client sockets end together, answered or not.
const AtOnce time.Duration = server.AtOnce

// WithLogger replaces slog's default logger. Error has what failed: WithConnect with
// an error that is not of RefuseConnect, a handler with one that is not of
// channel.Refuse, a handler that panicked, a history that can't be read. Warn has what
// should be changed in the application or its proxy: a refused origin, a join neither
// accepted nor refused, a ResponseWriter that can't be hijacked or flushed. Debug has
// the mistakes of clients. Of one message ten lines are written in ten seconds; the next
// one says how often it was "repeated". A refused origin is named once. Chime logs no
// payload, token or secret; it does log the texts of the application's errors and panics.
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
