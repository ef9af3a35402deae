package chaos

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// The system of a client that reads slowly makes room in steps of up to some 200 kB. One
// that reads less than that in StuckFor may show nothing of it, and no server can tell it
// from one that does not read (ADR 22). On a machine that is too busy some do.
const (
	stuckFor = 10 * time.Second // transport.Limits.StuckFor
	shows    = 256 << 10        // bytes that are read in it
)

// slowEnd takes the end of a join whose client was slow.
func (s *stage) slowEnd(name, topic string, why slowness) {
	if isMute(name) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.slow++
		return
	}
	if why.Cause == "" && s.world.loses() {
		return // an overrun: the history no longer has what it was sent, or to be sent
	}
	read := 0
	for _, c := range s.clients {
		if p := c.common(); p.name == name {
			read = p.tally.sum()
		}
	}
	if why.Cause == "stuck" && read < shows && strings.HasSuffix(name, slowly) {
		s.Logf("%s: has read %d bytes in %v, and was ended in %s", name, read, stuckFor, topic)
		return
	}
	s.fault("%s: has read %d bytes in %v, and was ended as slow in %s: %s", name, read, stuckFor, topic, why.Text)
}

// slowness is what a client was too slow for.
type slowness struct{ Cause, Text string }

// nodeLog is the log of a node. It knows what clients were too slow for.
type nodeLog struct {
	slog.Handler // of what is written

	mu     sync.Mutex // guards causes
	causes map[string]slowness
}

// Enabled implements slog.Handler.
func (*nodeLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l *nodeLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message != "client was slow" {
		if !l.Handler.Enabled(ctx, r.Level) {
			return nil
		}
		return l.Handler.Handle(ctx, r)
	}
	var client string
	var why slowness
	var text []string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "client":
			client = a.Value.String()
		case "cause":
			why.Cause = a.Value.String()
		}
		text = append(text, a.String())
		return true
	})
	why.Text = strings.Join(text, " ")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.causes == nil {
		l.causes = map[string]slowness{}
	}
	l.causes[client] = why
	return nil
}

// whySlow says what a client was too slow for.
func (l *nodeLog) whySlow(client string) *slowness {
	l.mu.Lock()
	defer l.mu.Unlock()
	if why, ok := l.causes[client]; ok {
		return &why
	}
	return &slowness{Text: "no cause was logged"}
}
