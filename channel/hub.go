package channel

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// Hub connects client sockets, channels and a broker. An application uses the
// Router of package chime, which has one; a Hub by itself serves other routers
// and tests. Its methods are safe for concurrent use, but Channel, which
// belongs to set-up.
type Hub struct {
	broker  broker.Broker
	history store.Store // of the broker; nil: nothing is kept
	serving atomic.Bool // a client has come: the routes stand
	limits  transport.Limits
	log     *slog.Logger
	routes  routes
	tasks   task.Group
	seed    maphash.Seed
	shards  [64]shard
	wide    atomic.Int64 // bytes that tails take for crowds, see topic.account
}

// shard holds a part of the live topics, so that joins and broadcasts of
// different topics seldom meet.
type shard struct {
	mu     sync.RWMutex // guards topics and their users
	topics map[string]*topic
}

// Config says what a Hub works with. The zero value keeps nothing and logs to
// slog's default.
type Config struct {
	Broker broker.Broker // nil: in process, without a store
	Limits transport.Limits
	Log    *slog.Logger
}

// NewHub returns a hub without channels. It panics at limits that can't be meant.
func NewHub(cfg Config) *Hub {
	if err := cfg.Limits.Check(); err != nil {
		panic(fmt.Sprintf("chime: NewHub: %v", err))
	}
	h := &Hub{broker: cfg.Broker, limits: cfg.Limits.WithDefaults(), log: cfg.Log, seed: maphash.MakeSeed()}
	if h.broker == nil {
		h.broker = broker.Local(nil)
	}
	if h.log == nil {
		h.log = slog.Default()
	}
	for i := range h.shards {
		h.shards[i].topics = map[string]*topic{}
	}
	h.history = h.broker.History()
	h.broker.Start(h)
	return h
}

// Channel serves the topics of a pattern with ch. The most specific pattern
// wins, whatever the order: a literal before {name} before *. It panics on
// what can only be a mistake.
func (h *Hub) Channel(pattern string, ch Channel, options ...Option) {
	r, err := newRoute(pattern, ch, options)
	if err == nil && h.serving.Load() {
		err = errors.New("added after the first client has come")
	}
	if err == nil && r.keep != nil && h.history == nil {
		err = errors.New("History needs a store, and there is none")
	}
	if err == nil {
		err = h.routes.add(r)
	}
	if err != nil {
		panic(fmt.Sprintf("chime: Channel(%q): %v", pattern, err))
	}
}

// Accept makes the channel side of a client socket; it is the Acceptor of a
// server.
func (h *Hub) Accept(cs transport.ClientSocket) transport.Receiver {
	h.serving.Store(true)
	return &client{hub: h, cs: cs}
}

// Wait returns when no handler runs, or with the error of ctx.
func (h *Hub) Wait(ctx context.Context) error { return h.tasks.Wait(ctx) }

// Broadcast is Socket.Broadcast from outside: an HTTP handler, a job.
func (h *Hub) Broadcast(ctx context.Context, topic, event string, payload any, options ...SendOption) error {
	r, err := h.route(topic)
	if err != nil {
		return err
	}
	return h.broadcast(ctx, r, topic, event, payload, options)
}

func (h *Hub) route(topic string) (*route, error) {
	r, _ := h.routes.match(topic)
	if r == nil {
		return nil, fmt.Errorf("topic %q: %w", topic, ErrNoChannel)
	}
	return r, nil
}

func (h *Hub) broadcast(ctx context.Context, r *route, topic, event string, payload any, options []SendOption) error {
	b, err := encode(event, payload)
	if err != nil {
		return err
	}
	var how sending
	for _, o := range options {
		o(&how)
	}
	keep := r.keep
	if how.ephemeral {
		keep = nil
	}
	p := broker.Publication{Topic: topic, From: how.from, Message: store.Message{
		Event: event, Payload: b.data, Binary: b.binary, At: time.Now(),
	}}
	if _, err := h.broker.Publish(ctx, p, keep); err != nil {
		return fmt.Errorf("broadcast to %q: %w", topic, err)
	}
	return nil
}

// Published implements broker.Sink: the fan-out.
func (h *Hub) Published(p broker.Publication) {
	if t := h.find(p.Topic); t != nil {
		t.publish(p)
	}
}

// History returns up to n of the newest messages of a topic, the oldest first,
// and the position behind them: a client that joins since there misses nothing.
func (h *Hub) History(ctx context.Context, topic string, n int) ([]store.Message, store.Position, error) {
	if err := h.keeps(topic); err != nil {
		return nil, store.Position{}, err
	}
	if n <= 0 {
		return nil, store.Position{}, fmt.Errorf("history of %q: want at least 1 message, not %d", topic, n)
	}
	page, err := h.history.Read(ctx, topic, store.Range{Newest: true, Limit: n})
	if err != nil {
		return nil, store.Position{}, fmt.Errorf("history of %q: %w", topic, err)
	}
	return page.Messages, store.Position{Epoch: h.history.Epoch(), Offset: page.Top}, nil
}

// Forget drops the history of a topic. Who is in it stays, and whoever comes
// back to a position before this is told that it was not recovered.
func (h *Hub) Forget(ctx context.Context, topic string) error {
	if err := h.keeps(topic); err != nil {
		return err
	}
	if err := h.history.Forget(ctx, topic); err != nil {
		return err // it says of what; see store.Store
	}
	if t := h.find(topic); t != nil {
		t.forget()
	}
	return nil
}

// Redact removes one message from the history of a topic. Who has it keeps it:
// an event that tells clients to delete it is the application's.
func (h *Hub) Redact(ctx context.Context, topic string, offset uint64) error {
	if err := h.keeps(topic); err != nil {
		return err
	}
	if err := h.history.Redact(ctx, topic, offset); err != nil {
		return err // it says of what; see store.Store
	}
	if t := h.find(topic); t != nil {
		t.redact(offset)
	}
	return nil
}

// keeps returns nil for a topic that has a history.
func (h *Hub) keeps(topic string) error {
	r, err := h.route(topic)
	if err == nil && r.keep == nil {
		err = fmt.Errorf("topic %q: %w", topic, ErrNoHistory)
	}
	return err
}

// Member is a client in a topic.
type Member struct {
	ID       string // of its client socket
	Identity transport.Identity
}

// Members returns who is in a topic on this node, in no particular order.
func (h *Hub) Members(topic string) []Member {
	if t := h.find(topic); t != nil {
		return t.list()
	}
	return nil
}

func (h *Hub) shard(topic string) *shard {
	return &h.shards[maphash.String(h.seed, topic)%uint64(len(h.shards))]
}

// find returns a topic somebody is in, or nil.
func (h *Hub) find(name string) *topic {
	sh := h.shard(name)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.topics[name]
}

// enter returns the topic, made if need be, and counts one user more.
func (h *Hub) enter(name string, r *route) *topic {
	sh := h.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.topics[name]
	if t == nil {
		t = newTopic(h, name, r)
		sh.topics[name] = t
	}
	t.users++
	return t
}

// exit counts one user less; the last one takes the topic with it.
func (h *Hub) exit(t *topic) {
	sh := h.shard(t.name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(sh.topics, t.name)
		t.close()
	}
}
