package nats

import (
	"context"
	"errors"
	"time"

	"github.com/go-chime/chime/store"
)

const (
	trimPause   = 250 * time.Millisecond
	trimReserve = 16 // messages that are left beyond what is retained: a position right before it is whole
)

// trimmer deletes in the background what readers leave out already, and at once what would be
// back.
type trimmer struct {
	site    *site
	streams *streams
	history *history
	backlog *backlog
}

// run does what is in the backlog.
func (t *trimmer) run() {
	tick := time.NewTicker(trimPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-t.site.ctx.Done():
			return
		}
		topics, again := t.backlog.take()
		for topic, keep := range topics {
			if err := t.trim(t.site.ctx, topic, keep); err != nil && t.site.ctx.Err() == nil {
				t.site.log.Warn("broker/nats: old messages can't be deleted", "error", err)
			}
		}
		for _, one := range again {
			t.removeErased(t.streams.of(one.topic), one)
		}
	}
}

// removeErased deletes a message that another node has erased and not deleted.
func (t *trimmer) removeErased(s *stream, one erasure) {
	l := s.now.Load()
	if l.epoch != one.epoch {
		return
	}
	r, found, err := t.site.calls.at(t.site.ctx, s.name, l.subject(one.topic), one.offset)
	if err != nil || !found || r.Offset != one.offset {
		return
	}
	if _, err := t.site.calls.remove(t.site.ctx, s.name, one.offset); err != nil && t.site.ctx.Err() == nil {
		t.site.log.Warn("broker/nats: an erased message can't be deleted", "error", err)
	}
}

// trim deletes what is beyond Keep, but for a few, and what has aged, but for the last.
func (t *trimmer) trim(ctx context.Context, topic string, keep store.Retention) error {
	s := t.streams.of(topic)
	subject := s.now.Load().subject(topic)
	if keep.Keep > 0 {
		if err := t.site.calls.purge(ctx, s.name, subject, 0, keep.Keep+trimReserve); err != nil {
			return err
		}
	}
	return t.trimAged(ctx, s, subject, keep)
}

func (t *trimmer) trimAged(ctx context.Context, s *stream, subject string, keep store.Retention) error {
	if keep.Age <= 0 {
		return nil
	}
	aged := s.now.Load().clock.now().Add(-keep.Age)
	list, _, err := t.site.calls.direct(ctx, s.name, question{StartTime: &aged, Next: subject, Batch: 1})
	if err != nil || len(list) == 0 || list[0].Offset <= 1 {
		return err
	}
	return t.site.calls.purge(ctx, s.name, subject, list[0].Offset, 0)
}

// settle deletes all that is not retained now: what readers leave out would be back when there
// is one message less, or when more is retained.
func (t *trimmer) settle(ctx context.Context, topic string) error {
	wait, end := patience, time.Now().Add(t.site.calls.giveUp)
	for {
		err := t.trySettle(ctx, topic)
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

func (t *trimmer) trySettle(ctx context.Context, topic string) error {
	v := t.history.view(topic)
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
			if err := t.site.calls.purge(ctx, v.stream.name, v.subject, s.list[0].Offset, 0); err != nil {
				return err
			}
		}
	}
	return t.trimAged(ctx, v.stream, v.subject, v.last.keep)
}
