package chime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/forward"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/store"
)

// Router mounts channels in a web app. It is an http.Handler and a chi.Routes:
//
//	r.With(auth).Mount("/socket", live)                             // chi
//	http.Handle("/socket/", http.StripPrefix("/socket", live))      // without
//
// Below its mount it serves websocket, sse and poll (GET and POST), wait, bye, chime.js and
// phoenix-stream.js with their types. Channels are added before it serves; all
// else is safe for concurrent use.
type Router struct {
	hub    *channel.Hub
	server *server.Server
	others *forward.Forwarder // nil: there is one node
	mux    *chi.Mux
	log    *slog.Logger
	stats  *stats.Stats
}

var (
	_ http.Handler = (*Router)(nil)
	_ chi.Routes   = (*Router)(nil)
)

// NewRouter returns a Router without channels. One of WithConnect and WithAnonymous
// must be given, so that nobody forgets to decide who may connect. It panics at a
// mistake in the options.
func NewRouter(options ...Option) *Router {
	cfg := configOf(options)
	var clients *server.Server
	counted := &stats.Stats{}
	self, others := cfg.joined()
	queues := queue.NewBudget(cfg.limits.WithDefaults().TotalQueueBytes)
	hub := channel.NewHub(channel.Config{
		Broker:     cfg.broker,
		Limits:     cfg.limits,
		Stats:      counted,
		Queues:     queues,
		Log:        cfg.log,
		BeginRound: func() <-chan struct{} { return clients.BeginRound() },
		Node:       self,
		Disconnect: func(identity string) { clients.Disconnect(identity, "disconnected") },
	})
	at := server.Config{
		Connect: cfg.connect,
		Accept:  hub.Accept,
		Detach:  detach,
		Origins: cfg.origins,
		Limits:  cfg.limits,
		Grace:   cfg.grace,
		Drain:   cfg.drain,
		Stats:   counted,
		Queues:  queues,
		Log:     cfg.log,
	}
	if others != nil {
		at.Node, at.Elsewhere = self.ID, others
	}
	clients, err := server.New(at)
	if err != nil {
		panic(fmt.Sprintf("chime: NewRouter: WithOrigins: %v", err))
	}
	r := &Router{hub: hub, server: clients, others: others, mux: chi.NewMux(), log: cfg.log, stats: counted}
	r.routes()
	return r
}

var _ channel.Live = (*Router)(nil)

// Channel serves the topics of a pattern with ch. In a pattern {name} stands for one
// part between colons and * for any rest: "chat_room:{id}", "doc:*". The most
// specific pattern wins, in whatever order they are added. Channel panics at a
// mistake: a malformed pattern, two that match the same topics, a channel.History
// without WithStore or WithBroker, an exported method of ch with the signature of a
// handler and another name, a channel added after the first client has come.
func (rt *Router) Channel(pattern string, ch channel.Channel, options ...channel.Option) {
	rt.hub.Channel(pattern, ch, options...)
}

// Broadcast sends an event to all members of a topic, and retains it if the channel
// has a History and it is not channel.Ephemeral. It returns when the event is
// retained and queued for all; call it after the application's own commit. Payload
// encodes to a JSON object, or is channel.Binary; a json.RawMessage or Binary is not
// copied, and must not be changed after the call. Ctx bounds the wait for room in the
// store, not a commit that has begun. After an error no client has seen the event: the
// error is channel.ErrNoChannel if no pattern matches the topic, says what is wrong
// with the event or payload, or is the store's.
func (rt *Router) Broadcast(ctx context.Context, topic, event string, payload any, options ...channel.SendOption) error {
	return rt.hub.Broadcast(ctx, topic, event, payload, options...)
}

// History returns up to n of the newest messages of a topic, the oldest first, and
// the position behind them. A page that is rendered from them joins with that position
// as "@since", and misses nothing. N is at least 1; all n are in memory at once.
// Payloads may be shared, and must not be modified. Whether there are more before them, or
// were, says HistoryBefore, of the zero position. The errors are
// channel.ErrNoChannel, channel.ErrNoHistory and the store's.
func (rt *Router) History(ctx context.Context, topic string, n int) ([]store.Message, store.Position, error) {
	return rt.hub.History(ctx, topic, n)
}

// HistoryBefore returns up to n of the messages of a topic before a position, the oldest
// first. The zero position is behind the newest. The page says whether there are More
// before it, and if not, by Complete, whether it goes back to the beginning of the topic or
// what came before is kept no longer. To read on, give the offset of its first message with
// its epoch; the epoch "" is whichever there is.
//
// Before a position of another epoch, whose offsets mean nothing here, the page has no
// messages and is not complete. N, memory, payloads and errors are as of History.
func (rt *Router) HistoryBefore(ctx context.Context, topic string, before store.Position, n int) (store.Page, error) {
	return rt.hub.HistoryBefore(ctx, topic, before, n)
}

// Forget takes all messages of a topic back, as Redact does one. Its members stay. The
// event is history_forgotten, or what History.Forgotten names, {}, and about all that came
// before it. A client that joins from a position further back reads that it was not
// recovered. To forget a topic that has had no message is no error.
func (rt *Router) Forget(ctx context.Context, topic string) error { return rt.hub.Forget(ctx, topic) }

// Redact takes one message of a topic back: it is removed from the history, and in the same
// step the event message_redacted, or what History.Redacted names, is broadcast and
// retained, {"offset": offset}, so that members remove it too, and so do clients that come
// back from a position before. It is store.ErrNotFound, and nothing happens, if the topic
// does not have the message, or no longer.
func (rt *Router) Redact(ctx context.Context, topic string, offset uint64) error {
	return rt.hub.Redact(ctx, topic, offset)
}

// Members returns the members of a topic on all nodes, in no particular order. One identity
// may be there with several client sockets. Those of other nodes have an Identity without
// its Value. If a node does not answer, within ctx or 5 s, it returns those of the others,
// and an error that names the node.
func (rt *Router) Members(ctx context.Context, topic string) ([]channel.Member, error) {
	return rt.hub.Members(ctx, topic)
}

// Presence returns who is present in a topic, ordered by key: one Present for each. Its
// channel has a channel.Presence, or the error is channel.ErrNoPresence. If a node does not say
// who is present on it, it returns those on the others, and an error that names the node.
func (rt *Router) Presence(ctx context.Context, topic string) ([]channel.Present, error) {
	return rt.hub.Presence(ctx, topic)
}

// Health returns nil as long as clients and messages are taken. Else it says why not, as
// the store or the broker does: store.ErrFull if it may pass; ErrDraining from Shutdown
// on; channel.ErrUnnamed as long as other nodes do not know this one. What says nothing of
// itself is well. Ask it for a load balancer's or an orchestrator's check.
func (rt *Router) Health(ctx context.Context) error {
	if rt.server.Draining() {
		return fmt.Errorf("health: %w", ErrDraining)
	}
	if err := rt.hub.Health(ctx); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	return nil
}

// Disconnect ends all client sockets of an identity, on all nodes. HandleLeave is called
// with channel.Kicked. Their clients may come back; to keep them out, refuse their next
// connect. For "" it returns an error, since anonymous clients are not one identity. If
// another node does not answer, within ctx or 5 s, the error names it.
func (rt *Router) Disconnect(ctx context.Context, identity string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if identity == "" {
		return errors.New(`disconnect "": want the ID of an identity, which anonymous clients have not`)
	}
	return rt.hub.Disconnect(ctx, identity)
}

// Stats returns the numbers of the Router since it was made, under the names that
// package metrics gives to Prometheus, for which it is: docs/operations.md has them.
// It costs as much as a few hundred reads of memory, however many clients there are.
func (rt *Router) Stats() stats.Families {
	m := stats.Moment{QueueBytes: rt.server.QueueBytes(), Draining: rt.server.Draining()}
	rt.hub.Moment(&m)
	return rt.stats.Families(m)
}

// ServeHTTP implements http.Handler. It serves what is below its mount, as chi, an
// http.ServeMux or http.StripPrefix says, and nothing else: behind a router of another
// kind the path of the mount is to be stripped.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rt.others != nil {
		r = rt.others.Received(r)
	}
	name := below(r)
	e, known := endpoints[name]
	connect := e.socket && server.IsConnect(r)
	unwanted := r.ContentLength != 0 && !connect && !(e.post != nil && r.Method == http.MethodPost)
	if unwanted {
		server.DropBody(w)
	}
	if !known {
		names := slices.Sorted(maps.Keys(endpoints))[1:] // without the mount itself
		http.Error(w, fmt.Sprintf("below the mount: %.80q: want %s", name, strings.Join(names, ", ")), http.StatusNotFound)
		return
	}
	methods := e.methods()
	switch {
	case unwanted && slices.Contains(strings.Split(methods, ", "), r.Method):
		server.RefuseBody(w)
	case r.Method == http.MethodOptions:
		rt.server.ServePreflight(w, r, methods)
	case e.get != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead || connect):
		e.get(rt.server, w, r)
	case e.post != nil && r.Method == http.MethodPost:
		e.post(rt.server, w, r)
	default:
		w.Header().Set("Allow", methods)
		http.Error(w, fmt.Sprintf("%s: method %s: want %s", cmp.Or(name, "the mount"), r.Method, methods), http.StatusMethodNotAllowed)
	}
}

// routes describes the endpoints to chi, which walks and documents them.
func (rt *Router) routes() {
	for name, e := range endpoints {
		if e.get != nil {
			rt.mux.Get("/"+name, rt.ServeHTTP)
			rt.mux.Head("/"+name, rt.ServeHTTP)
		}
		if e.post != nil {
			rt.mux.Post("/"+name, rt.ServeHTTP)
		}
	}
}

// Routes implements chi.Routes.
func (rt *Router) Routes() []chi.Route { return rt.mux.Routes() }

// Middlewares implements chi.Routes: a Router has none of its own.
func (rt *Router) Middlewares() chi.Middlewares { return nil }

// Match implements chi.Routes.
func (rt *Router) Match(rctx *chi.Context, method, path string) bool {
	return rt.mux.Match(rctx, method, path)
}

// Find implements chi.Routes.
func (rt *Router) Find(rctx *chi.Context, method, path string) string {
	return rt.mux.Find(rctx, method, path)
}

// detach returns the context of a client socket: the values of the request that
// opened it, without its end. Chi's own part is copied, since chi uses it again
// for other requests once the handler has returned; so are its strings, since each
// is a part of the request line and would keep all of it. What stays is still a
// chain of contexts with chi's in it, so that is left without such strings, and
// with all that middleware may ask of it when the handler has returned.
func detach(ctx context.Context) context.Context {
	detached := context.WithoutCancel(ctx)
	rctx := chi.RouteContext(ctx)
	if rctx == nil {
		return detached
	}
	c := &routed{Context: detached, values: make([]string, len(rctx.URLParams.Values))}
	for i, value := range rctx.URLParams.Values {
		c.values[i] = strings.Clone(value)
	}
	shape := &routeShape{rctx.Routes, rctx.URLParams.Keys, rctx.RoutePatterns}
	if last := lastShape.Load(); last != nil && last.equal(shape) {
		c.shape = last
	} else {
		c.shape = &routeShape{shape.routes, slices.Clone(shape.keys), slices.Clone(shape.patterns)} // these are the app's own
		lastShape.Store(c.shape)
	}
	*rctx = chi.Context{
		Routes: rctx.Routes, RoutePath: strings.Clone(rctx.RoutePath), RouteMethod: strings.Clone(rctx.RouteMethod), RoutePatterns: rctx.RoutePatterns,
		URLParams: chi.RouteParams{Keys: rctx.URLParams.Keys, Values: slices.Clone(c.values)},
	}
	return c
}

// routed is a context with what chi knew of a request. A chi.Context is made only
// when a handler looks for it: few do, and it would be one for each client.
type routed struct {
	context.Context
	shape  *routeShape
	values []string
}

// routeShape is what all clients of one mount have in common.
type routeShape struct {
	routes         chi.Routes
	keys, patterns []string
}

// lastShape is shared by clients that come by the same route, as nearly all do.
var lastShape atomic.Pointer[routeShape]

func (a *routeShape) equal(b *routeShape) bool {
	am, ok := a.routes.(*chi.Mux) // other types might not be comparable
	return ok && b.routes == chi.Routes(am) && slices.Equal(a.keys, b.keys) && slices.Equal(a.patterns, b.patterns)
}

// Value implements context.Context.
func (c *routed) Value(key any) any {
	if key != chi.RouteCtxKey {
		return c.Context.Value(key)
	}
	rctx := chi.NewRouteContext()
	rctx.Routes = c.shape.routes
	rctx.URLParams = chi.RouteParams{Keys: slices.Clone(c.shape.keys), Values: slices.Clone(c.values)}
	rctx.RoutePatterns = slices.Clone(c.shape.patterns)
	return rctx
}
