package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/store"
)

// topics are those that this node has subscribed to.
type topics struct {
	came chan *client.Msg

	mu    sync.RWMutex // guards known
	known map[string]*order
}

// of returns the order of a topic, nil if it is not subscribed.
func (t *topics) of(topic string) *order {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.known[topic]
}

// all returns the orders of all topics.
func (t *topics) all() []*order {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]*order, 0, len(t.known))
	for _, o := range t.known {
		list = append(list, o)
	}
	return list
}

func (t *topics) close() {
	for _, o := range t.all() {
		o.close()
	}
}

// start makes what is needed before anything is subscribed.
func (b *Broker) start() {
	b.topics.came = make(chan *client.Msg, announced)
	b.topics.known = map[string]*order{}
}

// Subscribe implements broker.Broker. It asks the leader of the topic's stream once, over the
// way on which servers tell each other who has subscribed to what.
func (b *Broker) Subscribe(ctx context.Context, topic string) error {
	if err := b.subscribe(ctx, topic); err != nil {
		return fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	return nil
}

func (b *Broker) subscribe(ctx context.Context, topic string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s := b.streamOf(topic)
	o := newOrder(b, topic)
	b.topics.mu.Lock()
	b.topics.known[topic] = o // before anything can come
	b.topics.mu.Unlock()
	err := o.listen(s.now.Load())
	var top uint64
	if err == nil {
		top, err = b.ping(ctx, s, topic)
	}
	if err == nil && b.people.changed != nil {
		err = b.people.enter(ctx, b, topic)
	}
	if err != nil {
		b.Unsubscribe(topic)
		return err
	}
	o.from(top)
	return nil
}

// Unsubscribe implements broker.Broker.
func (b *Broker) Unsubscribe(topic string) {
	b.topics.mu.Lock()
	o := b.topics.known[topic]
	delete(b.topics.known, topic)
	b.topics.mu.Unlock()
	if o != nil {
		o.close()
	}
	if b.people.changed != nil {
		b.people.leave(topic)
	}
}

// renew has the topics of a stream that was made anew listen to that one.
func (t *topics) renew(b *Broker, s *stream) {
	b.heads.clear()
	for _, o := range t.all() {
		if b.streamOf(o.topic) != s {
			continue
		}
		if err := o.listen(s.now.Load()); err != nil && !errors.Is(err, client.ErrConnectionClosed) {
			b.log.Warn("chime: broker/nats: subscribe again", "error", err)
		}
	}
}

// dispatch gives what is announced to the orders of the topics. It waits for none.
func (b *Broker) dispatch() {
	for {
		select {
		case m := <-b.topics.came:
			b.hear(m)
		case <-b.ctx.Done():
			return
		}
	}
}

// hear reads an announcement.
func (b *Broker) hear(m *client.Msg) {
	topic, ok := untoken(afterLastDot(m.Subject))
	if !ok {
		return
	}
	if strings.HasPrefix(m.Subject, b.names.whos()) {
		if c := b.people.of(topic); c != nil {
			c.hear(m)
		}
		return
	}
	o := b.topics.of(topic)
	if o == nil {
		return
	}
	l := o.listens(m.Sub)
	if l == nil {
		return // of a subscription that has ended
	}
	switch {
	case text(m.Header, headerErased) != "":
		at := store.Position{Epoch: l.epoch, Offset: field(m.Header, headerErased)}
		b.erased.add(at.Epoch, topic, at.Offset)
		o.hold(field(m.Header, headerAfter), 0, func() { o.tellErased(at) })
	case text(m.Header, headerSequence) == "":
		var r record
		r.readHeaders(m.Header, clock())
		r.Payload = m.Data
		o.hold(field(m.Header, headerAfter), len(m.Data), func() { o.announce(l, &r) })
	default:
		r, err := recordOf(m)
		if err != nil {
			b.log.Warn("chime: broker/nats: an announcement can't be read", "topic", topic, "error", err)
			o.lose()
			return
		}
		r.Prev, r.proven = uint64Of(last(m.Header, headerBefore)), true
		if b.heads.peek(topic) != nil {
			b.heads.of(topic).saw(r.Offset)
		}
		if r.mark {
			r.Prev = field(m.Header, headerMark)
		}
		o.retained(l, &r)
	}
}

func afterLastDot(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '.' {
			return s[i+1:]
		}
	}
	return s
}
