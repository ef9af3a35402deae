// Package local is the broker of a single process: a store, and the order in
// which what is published in a topic is announced.
//
//	b := local.New(history)
//
// A message is announced by the goroutine that publishes it, not by the one that
// writes it to the disk, which goes on with other topics. So a topic with many
// members delays no other. Publish returns when all members have been given the
// message.
package local

import (
	"context"
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// New returns a broker over s. With nil it retains nothing, and Publish must not
// be asked to. Close does not close s.
func New(s store.Store) broker.Broker { return &local{store: s} }

type local struct {
	store  store.Store
	sink   broker.Sink
	topics sync.Map // *order by the name of each topic that is subscribed; looked up for each message
}

func (l *local) Start(sink broker.Sink) {
	if l.sink != nil {
		panic("chime: broker/local: Start: called twice: want one Router for each broker")
	}
	l.sink = sink
}

func (l *local) Close() error { return nil }

// Caps says that messages survive what the store says they do, if it has a method
// Durable() bool: a power cut, or nothing.
func (l *local) Caps() broker.Caps {
	if s, ok := l.store.(interface{ Durable() bool }); ok && s.Durable() {
		return broker.Caps{Survives: broker.SurvivesKill | broker.SurvivesPower}
	}
	return broker.Caps{}
}

// Health is that of the store, if it has one.
func (l *local) Health(context.Context) error {
	if s, ok := l.store.(interface{ Health() error }); ok {
		return s.Health()
	}
	return nil
}

// Stats are those of the store, if it has any.
func (l *local) Stats() (store.Stats, bool) {
	if s, ok := l.store.(interface{ Stats() store.Stats }); ok {
		return s.Stats(), true
	}
	return store.Stats{}, false
}

func (l *local) History() broker.History {
	if l.store == nil {
		return nil
	}
	return l.store
}

func (l *local) Subscribe(_ context.Context, topic string) error {
	l.topics.Store(topic, newOrder(l.sink))
	return nil
}

func (l *local) Unsubscribe(topic string) {
	if o, ok := l.topics.LoadAndDelete(topic); ok {
		o.(*order).close()
	}
}

// order returns that of a topic, nil if it is not subscribed.
func (l *local) order(topic string) *order {
	found, _ := l.topics.Load(topic)
	o, _ := found.(*order)
	return o
}

func (l *local) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	if ctx.Err() != nil {
		return store.Position{}, context.Cause(ctx)
	}
	o := l.order(p.Topic)
	if o != nil { // nobody waits where nobody is told
		size, err := o.admit(ctx, len(p.Payload))
		if err != nil {
			return store.Position{}, err
		}
		defer o.admitted.Release(size)
	}
	if keep == nil {
		l.sink.Published(p)
		return store.Position{}, nil
	}
	return l.retain(ctx, &p, *keep, o)
}

// retain appends p, and announces it in the order of its topic, which was o when that was
// looked up.
func (l *local) retain(ctx context.Context, p *broker.Publication, keep store.Retention, o *order) (store.Position, error) {
	a := appends.Get().(*appending)
	a.local, a.order, a.epoch, a.topic, a.from = l, o, l.store.Epoch(), p.Topic, p.From
	offset, err := l.store.Append(ctx, p.Topic, p.Message, keep, a.announce)
	if err != nil {
		return store.Position{}, err // a is not used again: who knows what the store still does with it
	}
	at := store.Position{Epoch: a.epoch, Offset: offset}
	if o = a.order; !a.done { // its key has been used: whoever did may still be about to announce it
		o = l.order(p.Topic)
	}
	a.free()
	if o != nil {
		o.announce()
	}
	return at, nil
}

func (l *local) Erase(ctx context.Context, topic string, offset uint64) error {
	var err error
	if offset == 0 {
		err = l.store.Forget(ctx, topic)
	} else {
		err = l.store.Redact(ctx, topic, offset)
	}
	if o := l.order(topic); err == nil && o != nil {
		o.erase(topic, store.Position{Epoch: l.store.Epoch(), Offset: offset})
	}
	return err
}
