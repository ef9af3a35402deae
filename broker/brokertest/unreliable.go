package brokertest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// Unreliable is a broker whose announcements of retained messages are lost,
// delayed and reordered, as an interface that allows it must expect. It keeps
// what [broker.Sink] promises: of what is lost the sink is told, by the next
// Settle at the latest, and nothing is announced after it was erased. After LoseAll
// so are those of ephemeral ones.
type Unreliable struct {
	broker broker.Broker

	mu      sync.Mutex // guards what follows, and is held while the sink is told: calls come one at a time
	r       *rand.Rand
	sink    broker.Sink
	late    []broker.Publication
	missing map[string]bool // topics whose announcements are
	all     bool            // LoseAll was called
}

var (
	_ broker.Broker = (*Unreliable)(nil)
	_ broker.Sink   = (*Unreliable)(nil)
)

// NewUnreliable makes b unreliable, at random by a seed.
func NewUnreliable(b broker.Broker, seed uint64) *Unreliable {
	return &Unreliable{broker: b, r: rand.New(rand.NewPCG(seed, 0)), missing: map[string]bool{}}
}

// LoseAll has ephemeral messages be unreliable too. Of those that are lost nobody is told.
func (u *Unreliable) LoseAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all = true
}

// Settle announces what is late, and tells the sink of what is lost.
func (u *Unreliable) Settle() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.late) > 0 {
		u.release()
	}
	for topic := range u.missing {
		u.sink.Lost(topic)
	}
	clear(u.missing)
}

// release announces one of what is late. u.mu is held.
func (u *Unreliable) release() {
	i := u.r.IntN(len(u.late))
	p := u.late[i]
	u.late = slices.Delete(u.late, i, i+1)
	u.sink.Published(p)
}

// Published implements broker.Sink.
func (u *Unreliable) Published(p broker.Publication) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ephemeral := p.Offset == 0
	if ephemeral && !u.all {
		u.mu.Unlock()
		defer u.mu.Lock() // calls for ephemeral messages may come at the same time as any
		u.sink.Published(p)
		return
	}
	switch dice := u.r.IntN(100); {
	case dice < 15:
		if !ephemeral {
			u.missing[p.Topic] = true
		}
	case dice < 40:
		u.late = append(u.late, p)
	default:
		u.sink.Published(p)
	}
	if len(u.late) > 0 && u.r.IntN(2) == 0 {
		u.release()
	}
}

// Erased implements broker.Sink.
func (u *Unreliable) Erased(topic string, at store.Position) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.late = slices.DeleteFunc(u.late, func(p broker.Publication) bool {
		erased := p.Topic == topic && p.Epoch == at.Epoch && (at.Offset == 0 || p.Offset == at.Offset)
		if erased {
			u.missing[topic] = true
		}
		return erased
	})
	u.sink.Erased(topic, at)
}

// Lost implements broker.Sink.
func (u *Unreliable) Lost(topic string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sink.Lost(topic)
}

// Start implements broker.Broker.
func (u *Unreliable) Start(sink broker.Sink) {
	u.sink = sink
	u.broker.Start(u)
}

// Subscribe implements broker.Broker.
func (u *Unreliable) Subscribe(ctx context.Context, topic string) error {
	return u.broker.Subscribe(ctx, topic)
}

// Unsubscribe implements broker.Broker. What is late is lost by it: it may be erased
// when nobody is told any more.
func (u *Unreliable) Unsubscribe(topic string) {
	u.broker.Unsubscribe(topic)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.late = slices.DeleteFunc(u.late, func(p broker.Publication) bool { return p.Topic == topic })
	delete(u.missing, topic)
}

// Publish implements broker.Broker.
func (u *Unreliable) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	return u.broker.Publish(ctx, p, keep)
}

// Erase implements broker.Broker.
func (u *Unreliable) Erase(ctx context.Context, topic string, offset uint64) error {
	return u.broker.Erase(ctx, topic, offset)
}

// Caps implements broker.Broker. That announcements are missing is to be expected of several nodes.
func (u *Unreliable) Caps() broker.Caps {
	caps := u.broker.Caps()
	caps.Nodes = true
	return caps
}

// History implements broker.Broker.
func (u *Unreliable) History() broker.History { return u.broker.History() }

// Close implements broker.Broker.
func (u *Unreliable) Close() error { return u.broker.Close() }
