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
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/quiet"
	"github.com/go-chime/chime/internal/task"
)

// Broker joins nodes over JetStream. See [Open].
type Broker struct {
	options Options
	names   names
	id      string // of this broker, random: what its node is called is not known before StartCluster
	conn    *client.Conn
	js      jetstream.JetStream
	calls   *calls
	streams []*stream
	payload int
	log     *slog.Logger

	sink   broker.Sink
	tasks  task.Group
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	worry  chan struct{} // full when all that is known has to be looked at again

	heads  heads
	erased erasures
	topics topics
	trims  trims
	nodes  nodes
	people people
}

var (
	_ broker.Cluster  = (*Broker)(nil)
	_ broker.Presence = (*Broker)(nil)
	_ broker.Tops     = history{}
)

const (
	pingInterval = 5 * time.Second // a connection is given up when two pings are not answered
	maxPings     = 2
	dialTimeout  = 2 * time.Second
	lossPause    = 500 * time.Millisecond // between two losses of all topics
	announced    = 16 << 10               // announcements that may wait to be given to their topics
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
	var id [6]byte
	_, _ = rand.Read(id[:])
	b := &Broker{
		options: o, names: names{o.Prefix}, id: base64.RawURLEncoding.EncodeToString(id[:]),
		log: slog.New(quiet.New(o.Log.Handler())), worry: make(chan struct{}, 1),
	}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for i := range o.Streams {
		b.streams = append(b.streams, &stream{index: i, name: b.names.stream(i)})
	}
	ctx, done := context.WithTimeoutCause(ctx, o.GiveUp, fmt.Errorf("given up after %v", o.GiveUp))
	defer done()
	if b.conn, err = b.connect(ctx); err != nil {
		b.cancel()
		return nil, err
	}
	if err := b.prepare(ctx); err != nil {
		b.cancel()
		b.conn.Close()
		return nil, fmt.Errorf("%s: %w", o.shown(), err)
	}
	return b, nil
}

// connect tries until ctx ends where nobody listens.
func (b *Broker) connect(ctx context.Context) (*client.Conn, error) {
	o := b.options
	opts := []client.Option{
		client.Name("chime " + o.Prefix), client.PingInterval(pingInterval), client.MaxPingsOutstanding(maxPings),
		client.Timeout(dialTimeout), client.MaxReconnects(-1), client.ReconnectWait(100 * time.Millisecond),
		client.ReconnectJitter(100*time.Millisecond, time.Second),
		client.ReconnectBufSize(-1), // what can't be sent is an error, not late
		client.DisconnectErrHandler(b.disconnected), client.ReconnectHandler(b.reconnected),
		client.ErrorHandler(b.failed),
	}
	if o.Server != nil {
		opts = append(opts, client.InProcessServer(o.Server))
	}
	opts = append(opts, o.Connect...)
	for wait := pause; ; wait = min(2*wait, maxPause) {
		conn, err := client.Connect(o.URL, opts...)
		if err == nil {
			return conn, nil
		}
		refused := errors.Is(err, client.ErrAuthorization) || errors.Is(err, client.ErrAuthExpired) || errors.Is(err, client.ErrAuthRevoked) ||
			errors.Is(err, client.ErrSecureConnRequired) || errors.Is(err, client.ErrSecureConnWanted)
		if refused {
			return nil, fmt.Errorf("connect to %s: %w", o.shown(), err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to %s: %w: %w: %w", o.shown(), broker.ErrUnavailable, err, context.Cause(ctx))
		}
	}
}

// prepare finds or makes the streams, and tries again where there is no leader yet.
func (b *Broker) prepare(ctx context.Context) error {
	b.payload = int(b.conn.MaxPayload()) - overhead
	if v := b.conn.ConnectedServerVersion(); tooOld(v) {
		return fmt.Errorf("a server of version %q: want 2.12 or later", v)
	}
	var err error
	if b.calls, err = newCalls(b.conn, b.options.GiveUp); err != nil {
		return err
	}
	if b.js, err = jetstream.New(b.conn); err != nil {
		return err
	}
	b.start()
	for _, s := range b.streams {
		if err := b.meetFor(ctx, s); err != nil {
			return err
		}
	}
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

// meetFor meets a stream, and tries again until ctx ends where that may help.
func (b *Broker) meetFor(ctx context.Context, s *stream) error {
	for wait, limit := pause, attempt; ; wait, limit = min(2*wait, maxPause), min(2*limit, maxAttempt) {
		within, cancel := context.WithTimeout(ctx, limit)
		_, err := b.meet(within, s)
		cancel()
		if errors.Is(toAPI(err), client.ErrNoResponders) && b.without() {
			err = jetstream.ErrJetStreamNotEnabled
		}
		again := errors.Is(err, context.DeadlineExceeded) || passing(toAPI(err)) || isCode(toAPI(err), codeResources) ||
			errors.Is(err, jetstream.ErrStreamNotFound) // another node is making it
		switch {
		case err == nil:
			return nil
		case isCode(toAPI(err), codeNotEnabled, codeNotForAccount), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
			return fmt.Errorf("the server has no JetStream, or not for this account: want it with jetstream enabled: %w", err)
		case !again:
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w: %w", broker.ErrUnavailable, err, context.Cause(ctx))
		}
	}
}

// without reports whether the server has no JetStream, and no others that may.
func (b *Broker) without() bool {
	has, _ := b.conn.ConnectedServerJetStream()
	return !has && b.conn.ConnectedClusterName() == "" && b.conn.IsConnected()
}

// Start implements broker.Broker.
func (b *Broker) Start(sink broker.Sink) {
	if b.sink != nil {
		panic("chime: broker/nats: Start: called twice: want one Router for each broker")
	}
	b.sink, b.nodes.began = sink, time.Now()
	b.tasks.Go(b.watch)
	b.tasks.Go(b.dispatch)
	b.tasks.Go(b.trim)
	b.tasks.Go(b.beat)
	if _, err := b.conn.Subscribe("$JS.EVENT.ADVISORY.STREAM.*.>", b.advised); err != nil {
		b.log.Warn("chime: broker/nats: no advisories", "error", err)
	}
}

// Caps implements broker.Broker. What messages survive is what the options say: a server
// can't be asked.
func (b *Broker) Caps() broker.Caps {
	c := broker.Caps{Nodes: true, Survives: broker.SurvivesKill, Keys: b.options.KeyWindow, Payload: b.payload}
	if b.options.Replicas > 1 {
		c.Survives = broker.SurvivesNode
	}
	if b.options.SyncAlways {
		c.Survives = broker.SurvivesPower
	}
	return c
}

// Health returns an error while there is no connection, or a stream has no leader.
func (b *Broker) Health(ctx context.Context) error {
	if !b.conn.IsConnected() {
		return fmt.Errorf("%s: %w: %v", b.options.shown(), broker.ErrUnavailable, b.conn.Status())
	}
	for _, s := range b.streams {
		if _, err := b.ping(ctx, s, "health"); err != nil {
			return fmt.Errorf("stream %s: %w", s.name, err)
		}
	}
	return nil
}

// Close implements broker.Broker.
func (b *Broker) Close() error {
	b.nodes.leave(b)
	b.cancel()
	b.topics.close()
	b.people.close()
	b.conn.Close()
	return b.tasks.Wait(context.Background())
}

// advised looks again when a stream has a new leader, which may not have announced all that
// it has, or was made anew.
func (b *Broker) advised(m *client.Msg) {
	if slices.ContainsFunc(b.streams, func(s *stream) bool {
		return m.Subject == "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."+s.name || m.Subject == "$JS.EVENT.ADVISORY.STREAM.CREATED."+s.name
	}) {
		b.suspect()
	}
}

func (b *Broker) disconnected(_ *client.Conn, err error) {
	if b.ctx.Err() == nil {
		b.log.Warn("chime: broker/nats: the connection is lost", "server", b.options.shown(), "error", err)
	}
}

func (b *Broker) reconnected(c *client.Conn) {
	b.log.Info("chime: broker/nats: the connection is restored", "server", redact(c.ConnectedUrl()))
	b.suspect()
}

// failed is told of announcements that were dropped, among other things.
func (b *Broker) failed(_ *client.Conn, _ *client.Subscription, err error) {
	b.log.Warn("chime: broker/nats: announcements may be lost", "error", err)
	b.suspect()
}

// suspect has all topics looked at when that is possible again. It does not block.
func (b *Broker) suspect() {
	select {
	case b.worry <- struct{}{}:
	default:
	}
}

// watch tells the sink of what may be lost, when the streams can be read again: told before,
// it would fail to.
func (b *Broker) watch() {
	for {
		select {
		case <-b.worry:
		case <-b.ctx.Done():
			return
		}
		for _, s := range b.streams {
			b.recover(s)
		}
		if b.ctx.Err() != nil {
			return
		}
		b.sink.Lost("")
		b.people.compare(b, b.names.list(), b.nodes.others())
		select { // all topics are looked at
		case <-time.After(lossPause):
		case <-b.ctx.Done():
		}
	}
}

// recover returns when a stream can be read, and what is announced from then on reaches
// this node.
func (b *Broker) recover(s *stream) {
	for b.ctx.Err() == nil {
		within, cancel := context.WithTimeout(b.ctx, maxAttempt)
		changed, err := b.meet(within, s)
		if err == nil {
			if changed {
				b.log.Warn("chime: broker/nats: a stream was made anew, and its histories are gone", "stream", s.name)
				b.topics.renew(b, s)
			}
			_, err = b.ping(within, s, "recover")
		}
		cancel()
		if err == nil {
			return
		}
		b.log.Debug("chime: broker/nats: a stream can't be reached", "stream", s.name, "error", err)
		select {
		case <-time.After(maxPause):
		case <-b.ctx.Done():
		}
	}
}

// ping sends a message to the leader of a stream, which refuses it and names the last
// sequence of the topic. It takes the way of what is published, behind whatever this node has
// subscribed to: from the answer on the leader's server knows of that.
func (b *Broker) ping(ctx context.Context, s *stream, topic string) (top uint64, err error) {
	l := s.now.Load()
	m := &client.Msg{Subject: l.subject(topic), Header: client.Header{headerExpectTop: {"9223372036854775807"}}}
	err = b.calls.again(ctx, false, func(ctx context.Context) error {
		_, err := b.calls.store(ctx, m)
		return err
	})
	if isCode(err, codeWrongTop, codeWrongTopBusy) {
		return topIn(err), nil
	}
	if err == nil {
		err = errors.New("a message that must be refused was taken")
	}
	return 0, err
}
