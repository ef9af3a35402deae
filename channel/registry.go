package channel

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/store"
)

// registry has the topics that clients are in, or about to be. It is the sink of
// the broker, and knows nothing of sockets.
type registry struct {
	broker  broker.Broker
	between broker.Presence          // the same; nil: nodes do not tell each other who is present
	hear    func(broker.Publication) // what nodes tell each other in a topic
	config  fanout.Config
	stats   *stats.Stats
	refs    *presence.Refs
	watch   *fanout.Watch
	seed    maphash.Seed
	shards  [64]shard
}

// shard holds a part of the topics, so that joins and broadcasts of different
// topics seldom meet.
type shard struct {
	mu     sync.RWMutex // guards places, and what changes of each
	places map[string]*place
}

func (sh *shard) list() []*place {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return slices.Collect(maps.Values(sh.places))
}

// newRegistry returns one that looks for missing announcements until ctx ends.
func newRegistry(ctx context.Context, b broker.Broker, s *stats.Stats, c fanout.Config, hear func(broker.Publication)) *registry {
	r := &registry{broker: b, hear: hear, stats: s, config: c, refs: presence.NewRefs(), seed: maphash.MakeSeed()}
	r.between, _ = b.(broker.Presence)
	r.watch = fanout.NewWatch(ctx, c.History, r.topics, c.Tasks)
	for i := range r.shards {
		r.shards[i].places = map[string]*place{}
	}
	return r
}

func (r *registry) shard(topic string) *shard {
	return &r.shards[maphash.String(r.seed, topic)%uint64(len(r.shards))]
}

// len is how many topics have users.
func (r *registry) len() (n int) {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.RLock()
		n += len(sh.places)
		sh.mu.RUnlock()
	}
	return n
}

// find returns the topic of that name, or nil if it has no users.
func (r *registry) find(topic string) *place {
	sh := r.shard(topic)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.places[topic]
}

// enter returns the topic for one more user, for which exit must be called. It
// returns when the broker announces what is published in the topic, or with an error.
func (r *registry) enter(ctx context.Context, topic string, rt *route) (*place, error) {
	p, subscribed := r.use(topic, rt)
	if subscribed {
		return p, nil
	}
	if err := r.subscribe(ctx, p); err != nil {
		r.exit(p)
		return nil, err
	}
	return p, nil
}

// subscribe returns when p is subscribed to. The first user does that for all.
func (r *registry) subscribe(ctx context.Context, p *place) error {
	select {
	case p.subscribing <- struct{}{}:
	default:
		select {
		case p.subscribing <- struct{}{}:
		case <-ctx.Done(): // a client that is disconnected does not wait for a broker that hangs
			return context.Cause(ctx)
		}
	}
	defer func() { <-p.subscribing }()
	sh := r.shard(p.Name())
	sh.mu.RLock()
	subscribed := p.subscribed
	sh.mu.RUnlock()
	if subscribed {
		return nil
	}
	if err := r.broker.Subscribe(ctx, p.Name()); err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	p.subscribed = true
	r.watch.Arm()
	return nil
}

// topics returns those that there are.
func (r *registry) topics() (list []*fanout.Topic) {
	for i := range r.shards {
		for _, p := range r.shards[i].list() {
			list = append(list, p.Topic)
		}
	}
	return list
}

// use returns the topic, made if there is none, with one more user.
func (r *registry) use(topic string, rt *route) (p *place, subscribed bool) {
	sh := r.shard(topic)
	for {
		sh.mu.Lock()
		p := sh.places[topic]
		if p == nil {
			p = newPlace(topic, rt, r)
			sh.places[topic] = p
		}
		if !p.closing {
			p.users++
			subscribed := p.subscribed
			sh.mu.Unlock()
			return p, subscribed
		}
		if p.closed == nil {
			p.closed = make(chan struct{})
		}
		closed := p.closed
		sh.mu.Unlock()
		<-closed // Unsubscribe, which is under way, would undo a new subscription
	}
}

// exit counts one user less. The topic is closed with the last one.
func (r *registry) exit(p *place) {
	sh := r.shard(p.Name())
	sh.mu.Lock()
	p.users--
	p.closing = p.users == 0
	last, subscribed := p.closing, p.subscribed
	sh.mu.Unlock()
	if !last {
		return
	}
	if subscribed {
		r.broker.Unsubscribe(p.Name())
	}
	p.Close()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.places, p.Name())
	if p.closed != nil {
		close(p.closed)
	}
}

// presence returns who is present in a topic that has a Presence, ordered by key.
func (r *registry) presence(ctx context.Context, topic string) ([]broker.Present, error) {
	if p := r.find(topic); p != nil {
		return p.presence.List(), nil
	}
	if r.between == nil {
		return nil, nil
	}
	all, err := r.between.ListPresence(ctx, topic)
	presence.Sort(all)
	return all, err
}

// changed is told by the broker who is present.
func (r *registry) changed(topic string, c broker.Change) {
	if p := r.find(topic); p != nil {
		p.changed(c)
	}
}

// Published implements broker.Sink.
func (r *registry) Published(p broker.Publication) {
	if p.Offset == 0 && strings.HasPrefix(p.Event, "@") { // no application can send that
		r.hear(p)
		return
	}
	if t := r.find(p.Topic); t != nil {
		t.Published(p)
	}
}

// Erased implements broker.Sink.
func (r *registry) Erased(topic string, at store.Position) {
	if t := r.find(topic); t != nil {
		t.Erased(at)
	}
}

// Lost implements broker.Sink.
func (r *registry) Lost(topic string) {
	if topic != "" {
		r.stats.Missing.Add(stats.OfTopic)
		if t := r.find(topic); t != nil {
			t.Lost()
		}
		return
	}
	r.stats.Missing.Add(stats.OfAll)
	for i := range r.shards {
		for _, p := range r.shards[i].list() { // without the lock, for which joins and broadcasts wait
			p.Lost()
		}
	}
}

var _ broker.Sink = (*registry)(nil)
