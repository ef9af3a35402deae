package channel

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/quiet"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// Hub connects client sockets, channels and a broker. It is exported for package
// chime, whose Router has one, and for package channeltest: an application calls
// the methods of these. They are safe for concurrent use, except for Channel, which
// belongs to set-up.
type Hub struct {
	broker    broker.Broker
	history   broker.History // of the broker; nil: nothing is retained
	serving   atomic.Bool    // a client has come: no channel may be added
	limits    transport.Limits
	log       *slog.Logger
	stats     *stats.Stats
	routes    routes
	missed    quiet.Once[string] // topics that no pattern matches
	topics    *registry
	publisher publisher
	lookups   *fanout.Lookups
	queues    *queue.Budget
	running   handlers
	drafts    drafts
	exchange  exchange
	peers     peers
	strangers strangers
	tasks     task.Group

	looks    context.Context // for announcements that are missing, and at other nodes; ends with Shutdown
	endLooks context.CancelFunc
}

// Config says what a Hub works with. It is exported for package chime, and for
// tests that give channeltest.Open a broker, limits or a log. The zero value retains
// nothing and logs to slog's default.
type Config struct {
	Broker broker.Broker // nil: of this process, without a store
	Limits transport.Limits
	Log    *slog.Logger // nil: slog's default
	Stats  *stats.Stats // nil: of its own

	// Queues bounds what the queues of all clients hold, and counts what waits for an
	// Outgoing. Nil: of its own, which bounds only that.
	Queues *queue.Budget

	// BeginRound returns what is closed when each connection that has something to write
	// has been written to once, by which publishers are slowed down; nil if none
	// has. Nil: they are not.
	BeginRound func() <-chan struct{}

	// Node is this node, of a Broker that is a broker.Cluster, and Disconnect ends the client
	// sockets on it of an identity, when another node asks for that. Nil: there are none.
	Node       broker.Node
	Disconnect func(identity string)
}

// tailBytes is what the tails of all topics may take together. They serve crowds
// that join at once and members that fall behind; the rest is read from the history.
const tailBytes = 16 << 20

// NewHub returns a hub without channels. It panics if the limits are out of range.
func NewHub(cfg Config) *Hub {
	if err := cfg.Limits.Check(); err != nil {
		panic(fmt.Sprintf("chime: NewHub: %v", err))
	}
	h := &Hub{broker: cfg.Broker, limits: cfg.Limits.WithDefaults(), log: cfg.Log, stats: cfg.Stats, queues: cfg.Queues}
	if h.stats == nil {
		h.stats = &stats.Stats{}
	}
	if h.queues == nil {
		h.queues = queue.NewBudget(h.limits.TotalQueueBytes)
	}
	if h.broker == nil {
		h.broker = local.New(nil)
	}
	if h.log == nil {
		h.log = slog.Default()
	}
	h.history = h.broker.History()
	h.lookups = fanout.NewLookups(h.history)
	h.looks, h.endLooks = context.WithCancel(context.Background())
	h.exchange = exchange{ctx: h.looks, tag: rand.Text()[:16], broker: h.broker, drafts: &h.drafts, tasks: &h.tasks, log: h.log}
	h.topics = newRegistry(h.looks, h.broker, h.stats, fanout.Config{
		History: h.history, Budget: fanout.NewBudget(tailBytes), Checks: fanout.NewChecks(h.looks, h.history, &h.tasks), Tasks: &h.tasks, Found: &h.stats.Found, BeginRound: cfg.BeginRound,
	}, h.exchange.hear)
	h.exchange.topics = h.topics
	self := cfg.Node
	self.Key = "" // an application may show who is where
	h.peers = peers{self: self, members: h.members, disconnect: cfg.Disconnect, stopDraft: h.drafts.stop}
	h.strangers.peers, h.strangers.log, h.strangers.routes, h.strangers.fixed = &h.peers, h.log, &h.routes, &h.serving
	h.peers.strangers = &h.strangers
	if h.peers.disconnect == nil {
		h.peers.disconnect = func(string) {}
	}
	h.broker.Start(h.topics)
	apart := h.broker.Caps().Nodes
	h.publisher = publisher{broker: h.broker, topics: h.topics, apart: apart}
	h.topics.config.Sure = !apart
	if apart {
		h.topics.config.Copies = &fanout.Copies{Text: maxDraftBytes, Bytes: maxAllDrafts}
	}
	if c, ok := h.broker.(broker.Cluster); ok {
		h.peers.cluster = c
		c.StartCluster(cfg.Node, h.peers.answer)
	}
	if b := h.topics.between; b != nil {
		b.StartPresence(h.topics.changed)
	}
	return h
}

// Channel serves the topics of a pattern with ch. The most specific pattern wins,
// in whatever order they are added: a literal before {name} before *. It panics at a
// mistake.
func (h *Hub) Channel(pattern string, ch Channel, options ...Option) {
	r, err := newRoute(pattern, ch, options)
	if err == nil && h.serving.Load() {
		err = errors.New("the first client has come: want all channels before")
	}
	if err == nil && r.keep != nil && h.history == nil {
		err = errors.New("History is given, and there is no store: want WithStore or WithBroker")
	}
	if err == nil {
		err = h.routes.add(r)
	}
	if err != nil {
		panic(fmt.Sprintf("chime: Channel(%q): %v", pattern, err))
	}
	r.stats = h.stats.Pattern(pattern)
}

// Accept makes the channel side of a client socket; it is the Acceptor of a
// server.
func (h *Hub) Accept(cs transport.ClientSocket) transport.Receiver {
	h.serving.Store(true)
	if h.strangers.due() {
		h.tasks.Go(func() { h.strangers.look(h.looks) })
	}
	c := &client{hub: h, cs: cs}
	c.pager.Init(cs, &h.tasks)
	return c
}

// Wait returns when nothing is under way, no handler either, or with the error of
// ctx.
func (h *Hub) Wait(ctx context.Context) error { return h.tasks.Wait(ctx) }

// Broadcast is Socket.Broadcast for any topic, from an HTTP handler or a job.
func (h *Hub) Broadcast(ctx context.Context, topic, event string, payload any, options ...SendOption) error {
	r, err := h.routes.of(topic)
	if err != nil {
		return err
	}
	return h.publisher.broadcast(ctx, r, topic, event, payload, options)
}

// nameUnmatched names a topic that was joined and has no channel, once, for whoever
// wrote the pattern or the page.
func (h *Hub) nameUnmatched(topic, client string) {
	topic = strings.Clone(topic) // the rest of its frame is not kept
	if first, kept := h.missed.Add(topic); first && kept {
		h.log.Info("no pattern matches the topic of a join", "topic", topic, "nearest", h.routes.nearest(topic), "client", client)
	}
}

// History returns up to n of the newest messages of a topic, the oldest first,
// and the position behind them: a client that gives it as @since misses nothing.
func (h *Hub) History(ctx context.Context, topic string, n int) ([]store.Message, store.Position, error) {
	page, err := h.HistoryBefore(ctx, topic, store.Position{}, n)
	return page.Messages, store.Position{Epoch: page.Epoch, Offset: page.Top}, err
}

// Health returns nil as long as the broker takes messages, or does not tell, and the other
// nodes know this one.
func (h *Hub) Health(ctx context.Context) error {
	if b, ok := h.broker.(interface{ Health(context.Context) error }); ok {
		if err := b.Health(ctx); err != nil {
			return err
		}
	}
	return h.peers.named(ctx)
}

// Moment adds what the hub knows to the numbers of a Router.
func (h *Hub) Moment(m *stats.Moment) {
	m.Topics = h.topics.len()
	if b, ok := h.broker.(interface{ Stats() (store.Stats, bool) }); ok {
		if s, ok := b.Stats(); ok {
			m.Store = &s
		}
	}
}

// Member is a client in a topic.
type Member struct {
	ID       string // of its client socket
	Identity transport.Identity
	Node     broker.Node // it is on; zero if there is one only
}

// members returns who is in a topic on this node.
func (h *Hub) members(topic string) []Member {
	var list []Member
	if p := h.topics.find(topic); p != nil {
		p.Members(func(o fanout.Owner) {
			s := (*Socket)(o.(*owner))
			list = append(list, Member{s.ID(), s.Identity(), h.peers.self})
		})
	}
	return list
}
