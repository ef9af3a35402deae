package nats

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// publisher publishes, and takes back.
type publisher struct {
	site    *site
	streams *streams
	history *history
	trimmer *trimmer
	heads   *heads
	erased  *erasures
	most    int                                                                     // bytes of an event and its payload
	here    func(ctx context.Context, l *life, m *broker.Publication, after uint64) // announces on this node what is ephemeral
}

// publish is Broker.Publish. A message that was sent is waited for, whatever becomes of ctx, for
// some seconds: then the error is ErrUncertain.
func (p *publisher) publish(ctx context.Context, m *broker.Publication, keep *store.Retention) (store.Position, error) {
	if ctx.Err() != nil {
		return store.Position{}, context.Cause(ctx)
	}
	if n := len(m.Event) + len(m.Payload); n > p.most {
		return store.Position{}, fmt.Errorf("%w: %d bytes: want at most %d", broker.ErrTooLarge, n, p.most)
	}
	if !m.At.IsZero() {
		m.At = p.streams.of(m.Topic).now.Load().clock.correct(m.At)
	}
	if keep == nil {
		return store.Position{}, p.ephemeral(ctx, m)
	}
	if err := m.CheckOnce(); err != nil {
		return store.Position{}, err
	}
	d := p.delivery(m.Topic, headersOf(m))
	d.payload, d.keep = m.Payload, *keep
	retain(d.header, *keep)
	var at store.Position
	var err error
	switch {
	case m.Erases == store.All:
		at, err = d.replace(ctx, m)
	case m.Erases != 0:
		at, err = d.takeBack(ctx, m)
	default:
		at, _, err = d.keyed(ctx, &m.Message)
	}
	if err == nil && d.head.due(*keep) {
		p.trimmer.backlog.add(m.Topic, *keep)
	}
	return at, err
}

// ephemeral announces what is not retained. It says what its publisher has retained before,
// which it must not come before. This node announces it at once, and not when it comes back from
// the servers: what a handler says next, as a reply, is to come behind it.
func (p *publisher) ephemeral(ctx context.Context, m *broker.Publication) error {
	s := p.streams.of(m.Topic)
	h := headersOf(m)
	h[headerOf] = []string{p.site.id}
	after := uint64(0)
	if one := p.heads.peek(m.Topic); one != nil {
		if after = one.top(); after > 0 {
			h[headerAfter] = []string{number(after)}
		}
	}
	l := s.now.Load()
	err := p.site.calls.again(ctx, false, func(context.Context) error {
		l = s.now.Load()
		return p.site.conn.PublishMsg(&client.Msg{Subject: l.say + token(m.Topic), Header: h, Data: m.Payload})
	})
	if err != nil {
		return err
	}
	p.here(ctx, l, m, after)
	return nil
}

// erase is Broker.Erase.
func (p *publisher) erase(ctx context.Context, topic string, offset uint64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d := p.delivery(topic, client.Header{})
	if offset == 0 {
		return d.forget(ctx)
	}
	return d.redact(ctx, offset)
}

func (p *publisher) delivery(topic string, h client.Header) delivery {
	return delivery{publisher: p, calls: p.site.calls, stream: p.streams.of(topic), topic: topic, header: h, head: p.heads.of(topic)}
}

// delivery is a message on its way into a stream.
type delivery struct {
	publisher *publisher
	calls     *calls
	stream    *stream
	topic     string
	header    client.Header
	payload   []byte
	head      *head
	keep      store.Retention
	life      *life // that it was stored in, or is to be
}

// newID is that of a message without a key: what is sent again after no answer came is stored
// once.
func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // ends the program rather than fail
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// idOf is that of a message with a key. A key whose message is gone is free again: then the
// next has an ID in which that one's offset is. All who race compute the same.
func idOf(topic, key string, erased uint64) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %s %s %d", len(topic), topic, key, erased)
	return "k" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:24])
}

func (d *delivery) at(offset uint64) store.Position {
	return store.Position{Epoch: d.life.epoch, Offset: offset}
}

// keyed stores a message, or finds the one that has its key: then first is set.
func (d *delivery) keyed(ctx context.Context, m *store.Message) (at store.Position, first bool, err error) {
	if m.Key == "" {
		a, err := d.append(ctx, newID())
		if err != nil {
			return store.Position{}, false, err
		}
		return d.at(a.Seq), false, nil
	}
	for erased := uint64(0); ; {
		a, err := d.append(ctx, idOf(d.topic, m.Key, erased))
		switch {
		case err != nil:
			return store.Position{}, false, err
		case !a.Duplicate:
			return d.at(a.Seq), false, nil
		}
		first, found, err := d.publisher.history.kept(ctx, d.topic, a.Seq)
		switch {
		case err != nil:
			return store.Position{}, false, fmt.Errorf("what has the key: %w", err)
		case !found:
			erased = a.Seq
		case !first.Says(m):
			return store.Position{}, false, fmt.Errorf("%w, at offset %d", store.ErrKeyReused, a.Seq)
		default:
			return d.at(a.Seq), true, nil
		}
	}
}

// append stores the message under an ID. The first of a topic says that it is: the stream
// has checked that nothing was before.
func (d *delivery) append(ctx context.Context, id string) (ack, error) {
	if !d.head.isBegun() {
		d.head.first.Lock()
		defer d.head.first.Unlock()
	}
	if d.head.isBegun() {
		return d.plain(ctx, id)
	}
	a, err := d.send(ctx, id, client.Header{headerExpectTop: {"0"}, headerPrev: {"0"}})
	if isCode(err, codeWrongTop, codeWrongTopBusy) {
		if err := d.met(ctx); err != nil {
			return ack{}, err
		}
		return d.plain(ctx, id)
	}
	return a, err
}

// met looks at a topic that this node has not published in before: if more is retained from
// now on, what is not now must not come back.
func (d *delivery) met(ctx context.Context) error {
	last, found, err := d.calls.lastOf(ctx, d.stream.name, d.life.subject(d.topic))
	if err == nil && found && (last.keep.Keep > 0 && (d.keep.Keep <= 0 || d.keep.Keep > last.keep.Keep) || last.keep.Age > 0 && (d.keep.Age <= 0 || d.keep.Age > last.keep.Age)) {
		err = d.publisher.trimmer.settle(ctx, d.topic)
	}
	if err == nil {
		d.head.begin()
	}
	return err
}

func (d *delivery) plain(ctx context.Context, id string) (ack, error) {
	var more client.Header
	if back := d.head.back(); back > 0 {
		more = client.Header{headerBack: {number(back)}}
	}
	return d.send(ctx, id, more)
}

// send sends the message, again and again while there is no answer: the stream stores an ID
// once.
func (d *delivery) send(ctx context.Context, id string, more client.Header) (ack, error) {
	h := maps.Clone(d.header)
	h[headerID] = []string{id}
	maps.Copy(h, more)
	var a ack
	err := d.calls.again(ctx, true, func(ctx context.Context) error {
		d.life = d.stream.now.Load()
		var err error
		a, err = d.calls.store(ctx, &client.Msg{Subject: d.life.subject(d.topic), Header: h, Data: d.payload})
		return err
	})
	switch {
	case isCode(err, codeTooLarge), errors.Is(err, client.ErrMaxPayload):
		err = fmt.Errorf("%w: %w", broker.ErrTooLarge, err)
	case isCode(err, codeStoreFailed, codeStorage, codeResources):
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	if err != nil {
		return ack{}, err
	}
	d.head.saw(a.Seq)
	d.stream.saw(a.Seq)
	return a, nil
}
