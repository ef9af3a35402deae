package nats

import (
	"context"
	"errors"
	"fmt"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// A stream can't store one message and delete another in one step, but it can store one and
// delete all before it in the subject: a rollup. So:
//
//   - what erases all is a rollup;
//   - what erases one message says so, and then that is deleted. Between the two, readers that
//     see it leave the other out, and nodes that are told of it delete that again;
//   - an Erase that publishes nothing stores a mark where it has to: all that is erased is a
//     rollup by a mark, and the last message is erased behind one, so that the topic still
//     knows its top. No reader is shown a mark, and the stream has checked that the offset in it
//     is that of the last message before.

// maxCrossings is how often a mark is tried while others publish.
const maxCrossings = 1000

var errCrossed = errors.New("too much is published in the topic at that moment")

// replace stores p in place of all that the topic has.
func (d *delivery) replace(ctx context.Context, p *broker.Publication) (store.Position, error) {
	if at, found, err := d.said(ctx, &p.Message); err != nil || found {
		return at, err
	}
	id := newID()
	for erased := uint64(0); ; {
		if p.Key != "" {
			id = idOf(d.topic, p.Key, erased)
		}
		a, err := d.behind(ctx, id, func(last *record) client.Header {
			if last == nil {
				return nil
			}
			return client.Header{headerRollup: {"sub"}, headerPrev: {number(last.top())}}
		})
		if err != nil {
			return store.Position{}, err
		}
		if p.Key == "" || !a.Duplicate {
			return d.at(a.Seq), nil
		}
		first, found, err := d.publisher.history.kept(ctx, d.topic, a.Seq)
		switch {
		case err != nil:
			return store.Position{}, err
		case !found:
			erased = a.Seq
		case !first.Says(&p.Message):
			return store.Position{}, fmt.Errorf("%w, at offset %d", store.ErrKeyReused, a.Seq)
		default:
			return d.at(a.Seq), nil
		}
	}
}

// behind stores the message right behind the last one of the topic, with headers that say so.
// Without headers for that there is nothing to do, and the error is ErrNotFound.
func (d *delivery) behind(ctx context.Context, id string, headers func(last *record) client.Header) (ack, error) {
	for range maxCrossings {
		d.life = d.stream.now.Load()
		last, found, err := d.calls.lastOf(ctx, d.stream.name, d.life.subject(d.topic))
		if err != nil {
			return ack{}, err
		}
		var known *record
		if found {
			if last.id == id { // stored, but the answer was lost
				return ack{Seq: last.Offset}, nil
			}
			known = &last
		}
		h := headers(known)
		if h == nil {
			return ack{}, store.ErrNotFound
		}
		h[headerExpectTop] = []string{number(last.Offset)}
		a, err := d.send(ctx, id, h)
		if isCode(err, codeWrongTop, codeWrongTopBusy) {
			continue
		}
		return a, err
	}
	return ack{}, fmt.Errorf("%w: %w", broker.ErrUnavailable, errCrossed)
}

// takeBack stores p, and deletes what it erases.
func (d *delivery) takeBack(ctx context.Context, p *broker.Publication) (store.Position, error) {
	_, found, err := d.publisher.history.kept(ctx, d.topic, p.Erases)
	if err != nil {
		return store.Position{}, err
	}
	if !found { // it may have been erased by the message that has the key
		if at, found, err := d.said(ctx, &p.Message); err != nil || found {
			return at, err
		}
		return store.Position{}, fmt.Errorf("erase %d: %w", p.Erases, store.ErrNotFound)
	}
	if err := d.publisher.trimmer.settle(ctx, d.topic); err != nil {
		return store.Position{}, err
	}
	at, first, err := d.keyed(ctx, &p.Message)
	if err != nil {
		return store.Position{}, err
	}
	if first { // by who has ended before it was deleted, or it erases something else
		r, _, err := d.calls.at(ctx, d.stream.name, d.life.subject(d.topic), at.Offset)
		if err != nil || r.Erases != p.Erases {
			return at, err
		}
	}
	d.publisher.erased.add(d.life.epoch, d.topic, p.Erases)
	if _, err := d.calls.remove(ctx, d.stream.name, p.Erases); err != nil {
		return store.Position{}, fmt.Errorf("%w: %d says that %d is erased, which was not: %w", broker.ErrUncertain, at.Offset, p.Erases, err)
	}
	return at, nil
}

// said looks for a message that has the key of m, among the newest 10,000.
func (d *delivery) said(ctx context.Context, m *store.Message) (at store.Position, found bool, err error) {
	const pages, perPage = 20, 500
	r := store.Range{Newest: true, Limit: perPage}
	for range pages {
		if m.Key == "" {
			break
		}
		page, err := d.publisher.history.read(ctx, d.topic, r)
		if err != nil {
			return at, false, err
		}
		for _, other := range page.Messages {
			if other.Key != m.Key {
				continue
			}
			if !other.Says(m) {
				return at, false, fmt.Errorf("%w, at offset %d", store.ErrKeyReused, other.Offset)
			}
			return store.Position{Epoch: page.Epoch, Offset: other.Offset}, true, nil
		}
		if !page.More {
			break
		}
		r.Before = page.Messages[0].Offset
	}
	return at, false, nil
}

// forget deletes all behind a mark. Of a topic that has nothing there is nothing to do.
func (d *delivery) forget(ctx context.Context) error {
	_, err := d.behind(ctx, newID(), func(last *record) client.Header {
		if last == nil {
			return nil
		}
		return client.Header{headerRollup: {"sub"}, headerMark: {number(last.top())}, headerErases: {number(store.All)}}
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// redact deletes one message, which is the last behind a mark.
func (d *delivery) redact(ctx context.Context, offset uint64) error {
	if _, found, err := d.publisher.history.kept(ctx, d.topic, offset); err != nil || !found {
		if err == nil {
			err = store.ErrNotFound
		}
		return err
	}
	if err := d.publisher.trimmer.settle(ctx, d.topic); err != nil {
		return err
	}
	_, err := d.behind(ctx, newID(), func(last *record) client.Header {
		if last == nil || last.Offset != offset {
			return nil
		}
		h := client.Header{headerMark: {number(offset)}, headerErases: {number(offset)}}
		retain(h, last.keep)
		return h
	})
	marked := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	d.publisher.erased.add(d.life.epoch, d.topic, offset)
	found, err := d.calls.remove(ctx, d.stream.name, offset)
	switch {
	case err != nil:
		return err
	case !found:
		return store.ErrNotFound // another has, and told of it
	case marked:
		return nil
	}
	// After what was stored by now, so that nobody is told of it before it was announced.
	h := client.Header{headerErased: {number(offset)}}
	if top, err := d.publisher.streams.ping(ctx, d.stream, d.topic); err == nil && top > 0 {
		h[headerAfter] = []string{number(top)}
	}
	return d.calls.again(ctx, true, func(context.Context) error {
		return d.publisher.site.conn.PublishMsg(&client.Msg{Subject: d.life.say + token(d.topic), Header: h})
	})
}
