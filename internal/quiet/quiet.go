// Package quiet keeps what many requests can cause from filling a log: a line that
// repeats is written some times and then counted.
package quiet

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/mono"
)

const (
	period    = 10 * time.Second
	most      = 10  // lines of one cause in a period
	maxCauses = 128 // messages are constants of chime's code; those of net/http have an address in them
)

// Handler passes on what it is given, but of each cause, which is a message, ten lines
// in ten seconds. Beyond 128 causes all others are one. Those left out are counted, and
// the next line of their cause has their number as "repeated". Lines of the level Debug
// are not counted: whoever wants these wants all.
type Handler struct {
	next   slog.Handler
	causes *causes
}

var _ slog.Handler = Handler{}

// New returns a Handler before next.
func New(next slog.Handler) Handler { return Handler{next, &causes{known: map[string]*cause{}}} }

// Enabled implements slog.Handler.
func (h Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		repeated, written := h.causes.count(r.Message)
		if !written {
			return nil
		}
		if repeated > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Uint64("repeated", repeated))
		}
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return Handler{h.next.WithAttrs(attrs), h.causes}
}

// WithGroup implements slog.Handler.
func (h Handler) WithGroup(name string) slog.Handler {
	return Handler{h.next.WithGroup(name), h.causes}
}

// causes know how often each has been of late.
type causes struct {
	mu    sync.Mutex // guards known
	known map[string]*cause
}

type cause struct {
	began   mono.Instant // of the present period
	lines   int          // written in it
	leftOut uint64       // since the last one written
}

// count counts a line of a cause. It reports whether the line is written, and how many
// were left out before it.
func (cs *causes) count(message string) (leftOut uint64, written bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	now := mono.Now()
	c := cs.known[message]
	if c == nil && len(cs.known) >= maxCauses {
		message = "" // all others
		c = cs.known[message]
	}
	if c == nil {
		c = &cause{began: now}
		cs.known[message] = c
	}
	if now.Sub(c.began) >= period {
		c.began, c.lines = now, 0
	}
	if c.lines == most {
		c.leftOut++
		return 0, false
	}
	c.lines++
	leftOut, c.leftOut = c.leftOut, 0
	return leftOut, true
}
