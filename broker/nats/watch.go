package nats

import (
	"context"
	"slices"
	"time"

	client "github.com/nats-io/nats.go"
)

// lossPause is between two losses of all topics.
const lossPause = 500 * time.Millisecond

// watch sees to it that all is looked at again when something may be lost.
type watch struct {
	site    *site
	streams *streams
	renewed func(*stream) // a stream was made anew
	look    func()        // the streams can be read, and what is announced reaches this node
}

// advised looks again when a stream has a new leader, which may not have announced all that
// it has, or was made anew.
func (w *watch) advised(m *client.Msg) {
	if slices.ContainsFunc(w.streams.list, func(s *stream) bool {
		return m.Subject == "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."+s.name || m.Subject == "$JS.EVENT.ADVISORY.STREAM.CREATED."+s.name
	}) {
		w.site.suspect()
	}
}

// run looks when the streams can be read again: before, nobody could.
func (w *watch) run() {
	if _, err := w.site.conn.Subscribe("$JS.EVENT.ADVISORY.STREAM.*.>", w.advised); err != nil {
		w.site.log.Warn("chime: broker/nats: no advisories", "error", err)
	}
	for {
		select {
		case <-w.site.worry:
		case <-w.site.ctx.Done():
			return
		}
		for _, s := range w.streams.list {
			w.recover(s)
		}
		if w.site.ctx.Err() != nil {
			return
		}
		w.look()
		select { // all topics are looked at
		case <-time.After(lossPause):
		case <-w.site.ctx.Done():
		}
	}
}

// recover returns when a stream can be read, and what is announced from then on reaches
// this node.
func (w *watch) recover(s *stream) {
	for w.site.ctx.Err() == nil {
		within, cancel := context.WithTimeout(w.site.ctx, maxAttempt)
		changed, err := w.streams.meet(within, s)
		if err == nil {
			if changed {
				w.site.log.Warn("chime: broker/nats: a stream was made anew, and its histories are gone", "stream", s.name)
				w.renewed(s)
			}
			_, err = w.streams.ping(within, s, "recover")
		}
		cancel()
		if err == nil {
			return
		}
		w.site.log.Debug("chime: broker/nats: a stream can't be reached", "stream", s.name, "error", err)
		select {
		case <-time.After(maxPause):
		case <-w.site.ctx.Done():
		}
	}
}
