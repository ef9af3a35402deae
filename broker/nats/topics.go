package nats

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// announced is how many announcements may wait to be given to their topics.
const announced = 16 << 10

// topics are those that this node has subscribed to.
type topics struct {
	site    *site
	streams *streams
	heads   *heads
	erased  *erasures
	backlog *backlog
	sink    broker.Sink
	came    chan *client.Msg

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

// enter begins with a topic: what is published from then on is announced.
func (t *topics) enter(ctx context.Context, topic string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if t.site.conn.IsClosed() {
		return errClosed
	}
	s := t.streams.of(topic)
	o := newOrder(t, topic)
	t.mu.Lock()
	t.known[topic] = o // before anything can come
	t.mu.Unlock()
	if err := o.listen(s); err != nil {
		return err
	}
	top, err := t.streams.ping(ctx, s, topic)
	if err != nil {
		return err
	}
	o.from(top)
	return nil
}

// leave ends that.
func (t *topics) leave(topic string) {
	t.mu.Lock()
	o := t.known[topic]
	delete(t.known, topic)
	t.mu.Unlock()
	if o != nil {
		o.close()
	}
}

// in returns the orders of the topics of a stream.
func (t *topics) in(s *stream) []*order {
	return slices.DeleteFunc(t.all(), func(o *order) bool { return t.streams.of(o.topic) != s })
}

// change has the topics of a stream follow what has become of it.
func (t *topics) change(s *stream, c change) {
	t.heads.clear()
	for _, o := range t.in(s) {
		if c == shortened {
			o.shorten(s.top.Load())
		} else if err := o.listen(s); err != nil && !errors.Is(err, client.ErrConnectionClosed) {
			t.site.log.Warn("broker/nats: subscribe again", "error", err)
		}
	}
}

// suspect tells the sink that announcements of a stream's topics may be missing.
func (t *topics) suspect(s *stream) {
	if len(t.streams.list) == 1 {
		t.sink.Lost("")
		return
	}
	for _, o := range t.in(s) {
		t.sink.Lost(o.topic)
	}
}

// dispatch gives what is announced to the orders of the topics. It waits for none.
func (t *topics) dispatch() {
	for {
		select {
		case m := <-t.came:
			t.hear(m)
		case <-t.site.ctx.Done():
			return
		}
	}
}

// hear reads an announcement.
func (t *topics) hear(m *client.Msg) {
	o, l := t.listening(m)
	if l == nil {
		return
	}
	switch {
	case text(m.Header, headerErased) != "":
		at := store.Position{Epoch: l.epoch, Offset: field(m.Header, headerErased)}
		t.erased.add(at.Epoch, o.topic, at.Offset)
		o.hold(field(m.Header, headerAfter), step{do: func() { o.tellErased(at) }})
	case text(m.Header, headerOf) == t.site.id: // announced when it was published
	case text(m.Header, headerSequence) == "":
		var r record
		r.readHeaders(m.Header, l.clock.now())
		r.Payload = m.Data
		o.hold(field(m.Header, headerAfter), step{size: len(m.Data), do: func() { o.announce(l, &r) }})
	default:
		r, err := recordOf(m)
		if err != nil {
			t.site.log.Warn("broker/nats: an announcement can't be read", "topic", o.topic, "error", err)
			o.lose()
			return
		}
		t.streams.of(o.topic).saw(r.Offset)
		r.Prev, r.proven = uint64Of(last(m.Header, headerBefore)), true
		if one := t.heads.peek(o.topic); one != nil {
			one.saw(r.Offset)
		}
		if r.mark {
			r.Prev = field(m.Header, headerMark)
		}
		o.retained(l, &r)
	}
}

// here announces an ephemeral message of this node. It returns when that is done or dropped, or
// takes too long: when what it is behind does not come, or the sink is slow.
func (t *topics) here(ctx context.Context, l *life, m *broker.Publication, after uint64) {
	o := t.of(m.Topic)
	if o == nil {
		return
	}
	r := record{Message: m.Message, from: m.From}
	if r.At.IsZero() {
		r.At = l.clock.now()
	}
	s := step{size: len(m.Payload), do: func() { o.announce(l, &r) }, over: make(chan struct{})}
	o.hold(after, s)
	timer := time.NewTimer(2 * holding)
	defer timer.Stop()
	select {
	case <-s.over:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// listening returns the order that an announcement is for, and the life of its stream; none if
// the topic or the subscription has ended.
func (t *topics) listening(m *client.Msg) (*order, *life) {
	topic, ok := untoken(afterLastDot(m.Subject))
	if !ok {
		return nil, nil
	}
	o := t.of(topic)
	if o == nil {
		return nil, nil
	}
	return o, o.listens(m.Sub)
}

func afterLastDot(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '.' {
			return s[i+1:]
		}
	}
	return s
}
