package nats

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-chime/chime/store"
)

// trims is the work that waits to be done in the background: what readers leave out already
// is to be deleted.
type trims struct {
	mu     sync.Mutex // guards the rest
	topics map[string]store.Retention
	again  map[erasure]time.Time // erased by another node, which may have ended before it deleted it
}

const (
	maxTrims    = 4096            // topics that wait; others are trimmed after their next messages
	secondLook  = 2 * time.Second // until it is looked whether another node has deleted what it erased
	trimPause   = 250 * time.Millisecond
	trimReserve = 16 // messages that are left beyond what is retained: a position right before it is whole
)

func (t *trims) add(topic string, keep store.Retention) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.topics == nil {
		t.topics = map[string]store.Retention{}
	}
	if len(t.topics) < maxTrims {
		t.topics[topic] = keep
	}
}

// repeat has it seen to that a message is deleted.
func (t *trims) repeat(epoch, topic string, offset uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.again == nil {
		t.again = map[erasure]time.Time{}
	}
	one := erasure{epoch, topic, offset}
	if _, known := t.again[one]; !known && len(t.again) < maxErased {
		t.again[one] = time.Now().Add(secondLook)
	}
}

// take returns what is to be done now.
func (t *trims) take() (topics map[string]store.Retention, again []erasure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	topics, t.topics = t.topics, nil
	for one, at := range t.again {
		if !time.Now().Before(at) {
			again = append(again, one)
			delete(t.again, one)
		}
	}
	return topics, again
}

// trim deletes in the background what is not retained.
func (b *Broker) trim() {
	tick := time.NewTicker(trimPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
		topics, again := b.trims.take()
		for topic, keep := range topics {
			if err := b.trimTopic(b.ctx, topic, keep); err != nil && b.ctx.Err() == nil {
				b.log.Warn("chime: broker/nats: old messages can't be deleted", "error", err)
			}
		}
		for _, one := range again {
			b.removeErased(b.streamOf(one.topic), one)
		}
	}
}

// removeErased deletes a message that another node has erased and not deleted.
func (b *Broker) removeErased(s *stream, one erasure) {
	l := s.now.Load()
	if l.epoch != one.epoch {
		return
	}
	r, found, err := b.calls.at(b.ctx, s.name, l.subject(one.topic), one.offset)
	if err != nil || !found || r.Offset != one.offset {
		return
	}
	if _, err := b.calls.remove(b.ctx, s.name, one.offset); err != nil && b.ctx.Err() == nil {
		b.log.Warn("chime: broker/nats: an erased message can't be deleted", "error", err)
	}
}

// trimTopic deletes what is beyond Keep, but for a few, and what has aged, but for the last.
func (b *Broker) trimTopic(ctx context.Context, topic string, keep store.Retention) error {
	s := b.streamOf(topic)
	subject := s.now.Load().subject(topic)
	if keep.Keep > 0 {
		if err := b.calls.purge(ctx, s.name, subject, 0, keep.Keep+trimReserve); err != nil {
			return err
		}
	}
	return b.trimAged(ctx, s, subject, keep)
}

func (b *Broker) trimAged(ctx context.Context, s *stream, subject string, keep store.Retention) error {
	if keep.Age <= 0 {
		return nil
	}
	aged := clock().Add(-keep.Age)
	list, _, err := b.calls.direct(ctx, s.name, question{StartTime: &aged, Next: subject, Batch: 1})
	if err != nil || len(list) == 0 || list[0].Offset <= 1 {
		return err
	}
	return b.calls.purge(ctx, s.name, subject, list[0].Offset, 0)
}

// settle deletes all that is not retained now: what readers leave out would be back when there
// is one message less, or when more is retained.
func (b *Broker) settle(ctx context.Context, topic string) error {
	wait, end := patience, time.Now().Add(b.options.GiveUp)
	for {
		err := b.trySettle(ctx, topic)
		if !errors.Is(err, errBehind) && !errors.Is(err, errMoved) || !time.Now().Before(end) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		wait = min(2*wait, mostPause)
	}
}

func (b *Broker) trySettle(ctx context.Context, topic string) error {
	v := b.view(topic)
	if err := v.end(ctx); err != nil || !v.known {
		return err
	}
	if v.last.keep.Keep > 0 {
		s := scan{view: &v, from: 1}
		if err := s.ask(ctx, 1, minBytes); err != nil {
			return err
		}
		over, err := v.skip(ctx, &s, 0)
		for err == nil && !s.ended { // to see that the server has the last message
			err = s.ask(ctx, maxBatch, minBytes)
		}
		if err == nil {
			err = s.check()
		}
		if err != nil {
			return err
		}
		if over && len(s.list) > 0 {
			if err := b.calls.purge(ctx, v.stream.name, v.subject, s.list[0].Offset, 0); err != nil {
				return err
			}
		}
	}
	return b.trimAged(ctx, v.stream, v.subject, v.last.keep)
}
