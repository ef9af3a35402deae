// Package redis is the broker of several nodes over Redis 6.2 or later, or Valkey:
// retained messages are in streams, announcements go by publish and subscribe.
//
//	b, err := redis.Open(ctx, "redis://10.0.0.5:6379", redis.Options{})
//
// A message is appended and announced by one script, so the order of the
// announcements is that of the history. What a node may have missed it is told, and
// what the history no longer has makes a page incomplete. What a retained message
// survives is as Redis is set up: see [Broker.Caps] and docs/brokers.md. A fail-over to
// a replica may lose messages that were acknowledged. Their positions are incomplete then.
package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// Broker is a broker over Redis, made by [Open]. Its methods are safe for concurrent use.
type Broker struct {
	*engine
	caps    broker.Caps
	numbers numbers

	sink   broker.Sink
	feeds  []*feed
	nodes  nodes
	asks   asks
	here   presences
	census census

	once sync.Once // of Close
}

var (
	_ broker.Cluster  = (*Broker)(nil)
	_ broker.Presence = (*Broker)(nil)
)

// errClosed is what calls return after Close.
var errClosed = fmt.Errorf("broker/redis: %w", store.ErrClosed)

// Open connects to the engine that a URL names:
//
//	redis://user:password@host:6379/0        one, or a Redis Cluster that it belongs to
//	rediss://…                               with TLS
//	redis://host1:6379?addr=host2:6379       more nodes of a Redis Cluster
//	redis://host1:26379?addr=host2:26379&master_set=name    the master that Sentinels name
//	unix:///run/redis.sock
//
// An engine that is not there is tried again until ctx ends, or for o.GiveUp. One that
// refuses, by its credentials or since the prefix is that of another format, is an error
// at once. No error has the password in it.
func Open(ctx context.Context, url string, o Options) (*Broker, error) {
	o = o.withDefaults()
	option, err := o.client(url)
	if err != nil {
		return nil, fmt.Errorf("broker/redis: %w", err)
	}
	client, err := connect(ctx, option, o.GiveUp)
	if err != nil {
		return nil, fmt.Errorf("broker/redis: connect to %v%s: %w", option.InitAddress, withTLS(option), hinted(err))
	}
	b := &Broker{engine: newEngine(client, o)}
	epoch, err := b.settings(ctx)
	if err != nil {
		b.end()
		client.Close()
		return nil, fmt.Errorf("broker/redis: %v: %w", option.InitAddress, err)
	}
	b.epoch.Store(epoch)
	b.caps = b.explore(ctx)
	b.census.engine = b.engine
	b.here.init(b.engine, b.nodes.doubt)
	b.asks.init(b.engine)
	b.nodes.init(b.engine, &b.here, &b.asks, b.lose)
	for range o.feeds {
		b.feeds = append(b.feeds, newFeed(b.engine, b.here.recallLater))
	}
	return b, nil
}

// withTLS says that a connection has TLS: an engine that has none does not answer at all.
func withTLS(option rueidis.ClientOption) string {
	if option.TLSConfig == nil {
		return ""
	}
	return " with TLS"
}

// hinted says what to do where the engine's own words name its commands.
func hinted(err error) error {
	if strings.Contains(err.Error(), "NOAUTH") {
		return fmt.Errorf("%w: want its password, as in redis://:password@host:6379", err)
	}
	return err
}

// connect makes a client, again and again while nothing answers.
func connect(ctx context.Context, option rueidis.ClientOption, giveUp time.Duration) (rueidis.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	for n := 0; ; n++ {
		client, err := rueidis.NewClient(option)
		if err == nil {
			return client, nil
		}
		if client != nil {
			client.Close()
		}
		if errors.Is(err, errUnsent) && option.TLSConfig == nil && hasTLS(ctx, option.InitAddress[0], option.Dialer) {
			return nil, errWantTLS
		}
		if kind := kindOf(err); kind == fatal || kind == full || !pause(ctx, n) {
			return nil, unavailable(err)
		}
	}
}

// unavailable says that err is the engine's absence, unless it has refused.
func unavailable(err error) error {
	if kindOf(err) == fatal {
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}

// Start implements broker.Broker.
func (b *Broker) Start(sink broker.Sink) {
	if b.sink != nil {
		panic("chime: broker/redis: Start: called twice: want one Router for each broker")
	}
	b.sink = sink
	for _, f := range b.feeds {
		b.tasks.Go(f.run)
	}
	b.tasks.Go(b.nodes.run)
}

// feed returns what is told of a channel.
func (b *Broker) feed(channel string) *feed { return b.feeds[hash(channel)%uint32(len(b.feeds))] }

// lose has all topics look for what they may have missed.
func (b *Broker) lose() {
	for _, f := range b.feeds {
		f.all(hears.lose)
	}
}

// Subscribe implements broker.Broker. It returns when Redis has confirmed it.
func (b *Broker) Subscribe(ctx context.Context, topic string) error {
	channel := b.names.channel(topic)
	o := &order{engine: b.engine, sink: b.sink, here: &b.here, census: &b.census, topic: topic, audience: newAudience()}
	err := b.feed(channel).subscribe(ctx, channel, o)
	if err != nil {
		return fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	if b.here.changed != nil {
		b.census.add(o)
	}
	return nil
}

// Unsubscribe implements broker.Broker.
func (b *Broker) Unsubscribe(topic string) {
	channel := b.names.channel(topic)
	if o, ok := b.feed(channel).unsubscribe(channel).(*order); ok {
		o.close()
	}
	b.here.exit(topic)
}

// Caps implements broker.Broker. A message survives a kill of Redis if an append-only file
// is written before it answers, which is so with appendfsync always and with no, and a
// power cut with always. With everysec Redis may put off the writing for two seconds, and
// answers all the same. Where there are replicas nothing of it is promised, since a
// fail-over to one that is behind loses what it has not had, unless publishers wait for
// them: see [Options.WaitReplicas].
func (b *Broker) Caps() broker.Caps { return b.caps }

// Health returns nil if this node can write to the engine and is told what is published, and
// store.ErrFull for an engine that is full.
func (b *Broker) Health(ctx context.Context) error {
	if err := b.ctx.Err(); err != nil {
		return errClosed
	}
	for _, f := range b.feeds {
		if err := f.health(); err != nil {
			return fmt.Errorf("broker/redis: subscriptions: %w: %w", broker.ErrUnavailable, err)
		}
	}
	err := b.look(ctx, func(ctx context.Context) error {
		return b.client.Do(ctx, b.client.B().Set().Key(b.names.health()).Value("").ExSeconds(60).Build()).Error()
	})
	if err != nil {
		return fmt.Errorf("broker/redis: %w", err)
	}
	return nil
}

// Close implements broker.Broker. Those who are present on this node have left. Calls that
// begin later return store.ErrClosed.
func (b *Broker) Close() error {
	b.once.Do(func() {
		if b.sink != nil {
			b.leave()
		}
		b.end()
		for _, f := range b.feeds {
			f.close()
		}
		_ = b.tasks.Wait(context.Background()) // has no error then
		b.client.Close()
	})
	return nil
}

// leave has the other nodes not wait for this one. It takes a second at most.
func (b *Broker) leave() {
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	err := b.here.leave(ctx)
	if err == nil { // else another node must see that this one is gone, and have those leave who are still there
		err = b.nodes.leave(ctx)
	}
	if err != nil {
		b.log.Warn("broker/redis: the other nodes will miss this one before they know that it has left", "error", err)
	}
}
