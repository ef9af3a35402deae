// Package broker joins the nodes that share topics: what is published on one
// is announced on all, in the one order of its topic. [Local] is the broker of
// a single process.
package broker

import (
	"context"

	"github.com/go-chime/chime/store"
)

// Publication is a message on its way to everybody in a topic.
type Publication struct {
	store.Message        // Offset and Prev are 0 unless it was retained
	Topic         string // whose members get it
	From          string // the ID of a client socket that does not get it; "" is nobody
}

// Sink gets what was published, on every node. What was kept of one topic comes
// in its order, one at a time; what was not may come at the same time as
// anything else. Published must not block.
type Sink interface {
	Published(p Publication)
}

// Broker appends and announces in one step, so that what is announced in some
// order was appended in that order.
type Broker interface {
	// Start names the sink. It is called once, before anything else.
	Start(sink Sink)
	// Publish announces p, after having kept it if keep is given. It returns
	// when p has been announced on this node. It begins nothing when ctx is
	// already done, and ends what it has begun whatever becomes of ctx.
	Publish(ctx context.Context, p Publication, keep *store.Retention) (store.Position, error)
	// History reads what is kept. It is nil where nothing ever is.
	History() store.Store
}

// Local is the broker of one process. A nil store keeps nothing: then
// Publish must not be asked to.
func Local(s store.Store) Broker { return &local{store: s} }

type local struct {
	store store.Store
	sink  Sink
}

func (l *local) Start(sink Sink) { l.sink = sink }

func (l *local) History() store.Store { return l.store }

func (l *local) Publish(ctx context.Context, p Publication, keep *store.Retention) (store.Position, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Position{}, err
	}
	if keep == nil {
		l.sink.Published(p)
		return store.Position{}, nil
	}
	at := store.Position{Epoch: l.store.Epoch()}
	err := l.store.Append(ctx, p.Topic, p.Message, *keep, func(m store.Message) {
		p.Message = m
		at.Offset = m.Offset
		l.sink.Published(p)
	})
	return at, err
}
