package channel

import (
	"context"
	"errors"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/store"
)

// publisher publishes what the members of topics are sent: events, the messages that drafts
// become, and that something is taken back.
type publisher struct {
	broker broker.Broker
	topics *registry
	apart  bool // the broker is of several nodes
}

// broadcast publishes an event as the options say, in a topic of r.
func (p *publisher) broadcast(ctx context.Context, r *route, topic, event string, payload any, options []SendOption) error {
	b, err := r.encode(event, payload)
	if err != nil {
		return err
	}
	var how sending
	for _, o := range options {
		how = o.apply(how)
	}
	keep := r.keep
	if how.ephemeral {
		keep = nil
	}
	if err := how.check(keep); err != nil {
		return unsent(topic, err)
	}
	began := time.Now()
	at, err := p.publish(ctx, broker.Publication{Topic: topic, From: how.from, Message: store.Message{
		Event: event, Payload: b.data, Binary: b.binary, At: began, Key: how.key, Sum: how.sum,
	}}, keep)
	r.stats.Publish.Observe(time.Since(began))
	if how.position != nil {
		*how.position = at
	}
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, store.ErrKeyReused): // which is a mistake of who gave it
		r.stats.Failed.Add(failure(err))
	}
	return unsent(topic, err)
}

// failure is the cause of an error of a broker, as it is counted.
func failure(err error) stats.Failure {
	switch {
	case errors.Is(err, broker.ErrUncertain):
		return stats.FailedUncertain
	case errors.Is(err, broker.ErrUnavailable):
		return stats.FailedUnavailable
	case errors.Is(err, broker.ErrTooLarge):
		return stats.FailedTooLarge
	case errors.Is(err, store.ErrFull):
		return stats.FailedFull
	}
	return stats.FailedOtherwise
}

// publish publishes one thing, and returns when its members on this node have been sent it, if it
// is retained. A broker of several nodes returns when it is: what a handler says after that,
// as a reply, is to come behind it.
func (p *publisher) publish(ctx context.Context, what broker.Publication, keep *store.Retention) (store.Position, error) {
	at, err := p.broker.Publish(ctx, what, keep)
	if err == nil && p.apart && at.Offset > 0 {
		if here := p.topics.find(what.Topic); here != nil {
			fanout.Await(ctx, here.Topic, at)
		}
	}
	return at, err
}
