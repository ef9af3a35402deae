package nats

import (
	"context"
	"errors"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"
)

const (
	// lossPause is between two losses of all topics.
	lossPause = 500 * time.Millisecond
	// inspection is how often a stream is looked at though nothing has happened to it.
	inspection = time.Minute
	// advisories are what the servers say of streams.
	advisories = "$JS.EVENT.ADVISORY.STREAM."
)

// watch sees to it that all is looked at again when something may be lost, stream by stream.
type watch struct {
	site    *site
	streams *streams
	changed func(*stream, change) // a stream is not what it was
	look    func(*stream)         // it can be read, and what is announced reaches this node
}

// advised looks again when a stream has a new leader, which may not have announced all that
// it has, was made anew or was changed.
func (w *watch) advised(m *client.Msg) {
	action, name, _ := strings.Cut(strings.TrimPrefix(m.Subject, advisories), ".")
	for _, s := range w.streams.list {
		if name == s.name && (action == "LEADER_ELECTED" || action == "CREATED" || action == "UPDATED") {
			w.site.suspectOf(s.index)
		}
	}
}

// begin watches until the end.
func (w *watch) begin() {
	if err := w.site.subscribe(advisories+"*.>", w.advised); err != nil {
		w.site.log.Warn("broker/nats: no advisories", "error", err)
	}
	for _, s := range w.streams.list { // one without a leader holds up no other
		w.site.tasks.Go(func() { w.run(s) })
	}
}

// run looks when a stream can be read again: before, nobody could.
func (w *watch) run(s *stream) {
	tick := time.NewTicker(inspection)
	defer tick.Stop()
	for {
		select {
		case <-w.site.worry[s.index]:
		case <-tick.C:
			if !w.inspect(s) {
				continue
			}
		case <-w.site.ctx.Done():
			return
		}
		if !w.recover(s) {
			return
		}
		w.look(s)
		select { // all topics are looked at
		case <-time.After(lossPause):
		case <-w.site.ctx.Done():
		}
	}
}

// inspect reports whether a stream has to be looked at.
func (w *watch) inspect(s *stream) bool {
	within, cancel := context.WithTimeout(w.site.ctx, maxAttempt)
	defer cancel()
	return w.meet(within, s) != nil
}

// recover returns when a stream can be read, and what is announced from then on reaches
// this node; false if this node ends before.
func (w *watch) recover(s *stream) bool {
	began, said := time.Now(), ""
	for w.site.ctx.Err() == nil {
		within, cancel := context.WithTimeout(w.site.ctx, maxAttempt)
		err := w.meet(within, s)
		if errors.Is(err, errChanged) {
			err = nil
		}
		if err == nil {
			_, err = w.streams.ping(within, s, "recover")
		}
		cancel()
		if err == nil {
			if said != "" {
				w.site.log.Info("broker/nats: a stream can be used again", "stream", s.name, "after", time.Since(began).Round(time.Millisecond))
			}
			return true
		}
		late := said == "" && time.Since(began) > w.site.calls.giveUp
		if again := said == err.Error(); (late || errors.Is(err, errForeign)) && !again && w.site.ctx.Err() == nil {
			said = err.Error()
			w.site.log.Error("broker/nats: a stream can't be used", "stream", s.name, "error", err)
		}
		select {
		case <-time.After(maxPause):
		case <-w.site.ctx.Done():
		}
	}
	return false
}

var errChanged = errors.New("the stream is not what it was")

// meet meets a stream, and sees to what follows if it has changed: then the error is errChanged.
func (w *watch) meet(ctx context.Context, s *stream) error {
	c, err := w.streams.meet(ctx, s)
	if err != nil || c == unchanged {
		return err
	}
	switch c {
	case renewed:
		w.site.log.Warn("broker/nats: a stream was made anew, and its histories are gone", "stream", s.name)
	case shortened:
		w.site.log.Error("broker/nats: a stream has lost its last messages", "stream", s.name)
	}
	w.changed(s, c)
	return errChanged
}
