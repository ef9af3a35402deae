// Package nats is a broker over NATS JetStream: many nodes with the same topics.
//
//	b, err := nats.Open(ctx, nats.Options{URL: "nats://localhost:4222"})
//	rt := chime.NewRouter(chime.WithBroker(b))
//
// A topic is a subject of a stream. Its leader orders what is published, and announces it to
// the nodes as it stores it. They have no consumers: a topic that nobody is in costs nothing.
// The servers must be of version 2.12 at least, in one cluster, with JetStream.
//
// It promises what package broker says, for what the servers keep: see Caps. It does not
// promise that an ephemeral message comes before what its publisher retains next, if nodes are
// connected to several servers; it never comes before what was retained first.
package nats

import (
	"context"
	"fmt"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// Broker joins nodes over JetStream; see [Open]. Its methods are safe for concurrent use.
type Broker struct {
	options   Options
	site      *site
	streams   *streams
	topics    *topics
	history   *history
	trimmer   *trimmer
	publisher *publisher
	nodes     *nodes
	asks      *asks
	people    *people
	watch     *watch
}

var (
	_ broker.Cluster  = (*Broker)(nil)
	_ broker.Presence = (*Broker)(nil)
	_ broker.Tops     = (*history)(nil)
)

// Open connects to the servers, and finds or makes the streams. Where nobody listens, or there
// is no leader yet, it tries again until ctx ends or Options.GiveUp is over; other errors it
// returns at once. Nothing is left open then.
func Open(ctx context.Context, o Options) (*Broker, error) {
	b, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open a broker over NATS: %w", err)
	}
	return b, nil
}

func open(ctx context.Context, o Options) (*Broker, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	s := newSite(ctx, o)
	ctx, done := context.WithTimeoutCause(ctx, o.GiveUp, fmt.Errorf("given up after %v", o.GiveUp))
	defer done()
	if err := s.connect(ctx, o); err != nil {
		s.end()
		return nil, err
	}
	b := &Broker{options: o, site: s}
	if err := b.prepare(ctx); err != nil {
		s.end()
		s.conn.Close()
		return nil, fmt.Errorf("%s: %w", s.at, err)
	}
	return b, nil
}

// prepare finds or makes the streams, and puts the parts together.
func (b *Broker) prepare(ctx context.Context) error {
	s, o := b.site, b.options
	if v := s.conn.ConnectedServerVersion(); tooOld(v) {
		return fmt.Errorf("a server of version %q: want 2.12 or later", v)
	}
	if n := s.conn.MaxPayload(); n < least {
		return fmt.Errorf("max_payload of the server is %d bytes: want %d at least", n, least)
	}
	var err error
	if s.calls, err = newCalls(s.conn, o.GiveUp, s.suspect); err != nil {
		return err
	}
	if b.streams, err = newStreams(s, o); err != nil {
		return err
	}
	if err := b.streams.open(ctx); err != nil {
		return err
	}
	heads, erased, backlog := &heads{}, &erasures{}, &backlog{}
	b.topics = &topics{site: s, streams: b.streams, heads: heads, erased: erased, backlog: backlog, came: make(chan *client.Msg, announced), known: map[string]*order{}}
	b.history = &history{site: s, streams: b.streams, topics: b.topics, erased: erased, backlog: backlog}
	b.trimmer = &trimmer{site: s, streams: b.streams, history: b.history, backlog: backlog}
	b.publisher = &publisher{site: s, streams: b.streams, history: b.history, trimmer: b.trimmer, heads: heads, erased: erased, most: s.most(), here: b.topics.here}
	b.people = &people{site: s, came: make(chan *client.Msg, announced), doubt: make(chan struct{}, 1)}
	b.nodes = &nodes{site: s, present: b.people.any, met: b.people.meet, ended: b.people.end, beaten: b.people.remind}
	b.people.nodes = b.nodes
	b.asks = &asks{site: s, nodes: b.nodes}
	b.watch = &watch{site: s, streams: b.streams, changed: b.topics.change, look: b.look}
	return nil
}

// tooOld reports whether a server is of a version before 2.12, which does not see that a message
// with the same subject is being stored. One that can't be read is of a later time.
func tooOld(version string) bool {
	var major, minor int
	if n, err := fmt.Sscanf(version, "%d.%d", &major, &minor); n != 2 || err != nil {
		return false
	}
	return major < 2 || major == 2 && minor < 12
}

// look has the sink look at the topics of a stream, and compares who is present.
func (b *Broker) look(s *stream) {
	b.topics.suspect(s)
	b.people.compare()
}

// Start implements broker.Broker.
func (b *Broker) Start(sink broker.Sink) {
	if b.topics.sink != nil {
		panic("chime: broker/nats: Start: called twice: want one Router for each broker")
	}
	b.topics.sink = sink
	for _, run := range []func(){b.watch.begin, b.topics.dispatch, b.trimmer.run, b.nodes.run} {
		b.site.tasks.Go(run)
	}
}

// Caps implements broker.Broker. What messages survive is what the options say: a server
// can't be asked.
func (b *Broker) Caps() broker.Caps {
	c := broker.Caps{Nodes: true, Survives: broker.SurvivesKill, Keys: b.options.KeyWindow, Payload: b.publisher.most}
	if b.options.Replicas > 1 {
		c.Survives |= broker.SurvivesNode
	}
	if b.options.SyncAlways {
		c.Survives |= broker.SurvivesPower
	}
	return c
}

// Health returns an error while there is no connection, or a stream has no leader.
func (b *Broker) Health(ctx context.Context) error {
	if err := b.site.reached(); err != nil {
		return err
	}
	for _, s := range b.streams.list {
		if _, err := b.streams.ping(ctx, s, "health"); err != nil {
			return fmt.Errorf("stream %s: %w", s.name, err)
		}
	}
	return nil
}

// Subscribe implements broker.Broker. It asks the leader of the topic's stream once, over the
// way on which servers tell each other who has subscribed to what.
func (b *Broker) Subscribe(ctx context.Context, topic string) error {
	err := b.topics.enter(ctx, topic)
	if err == nil {
		err = b.people.enter(ctx, topic)
	}
	if err != nil {
		b.Unsubscribe(topic)
		return fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	return nil
}

// Unsubscribe implements broker.Broker.
func (b *Broker) Unsubscribe(topic string) {
	b.topics.leave(topic)
	b.people.leave(topic)
}

// Publish implements broker.Broker. A message that was sent is waited for, whatever becomes of
// ctx, for some seconds: then the error is ErrUncertain.
func (b *Broker) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	at, err := b.publisher.publish(ctx, &p, keep)
	if err != nil {
		return store.Position{}, fmt.Errorf("publish to %q: %w", p.Topic, err)
	}
	return at, nil
}

// Erase implements broker.Broker.
func (b *Broker) Erase(ctx context.Context, topic string, offset uint64) error {
	if err := b.publisher.erase(ctx, topic, offset); err != nil {
		return fmt.Errorf("erase %d of %q: %w", offset, topic, err)
	}
	return nil
}

// History implements broker.Broker.
func (b *Broker) History() broker.History { return b.history }

// StartCluster implements broker.Cluster.
func (b *Broker) StartCluster(self broker.Node, answer func(ctx context.Context, request []byte) ([]byte, error)) {
	b.asks.begin(answer)
	b.nodes.name(self)
}

// Nodes implements broker.Cluster.
func (b *Broker) Nodes(context.Context) ([]broker.Node, error) {
	if err := b.site.reached(); err != nil {
		return nil, fmt.Errorf("nodes: %w", err)
	}
	return b.nodes.list(), nil
}

// Ask implements broker.Cluster.
func (b *Broker) Ask(ctx context.Context, request []byte) ([]broker.Answer, error) {
	answers, err := b.asks.all(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	return answers, nil
}

// StartPresence implements broker.Presence.
func (b *Broker) StartPresence(changed func(string, broker.Change)) { b.people.begin(changed) }

// Present implements broker.Presence.
func (b *Broker) Present(topic string, change broker.Change) { b.people.change(topic, change) }

// ListPresence implements broker.Presence. It waits a second for the other nodes.
func (b *Broker) ListPresence(ctx context.Context, topic string) ([]broker.Present, error) {
	list, err := b.people.list(ctx, topic)
	if err != nil {
		err = fmt.Errorf("present in %q: %w", topic, err)
	}
	return list, err
}

// Close implements broker.Broker. Calls that begin later return store.ErrClosed.
func (b *Broker) Close() error {
	if b.topics.sink != nil {
		b.nodes.leave()
	}
	b.site.end()
	b.topics.close()
	b.people.close()
	b.site.conn.Close()
	return b.site.tasks.Wait(context.Background())
}
