// Package middleware has what many channels put around their handlers with channel.Use:
// a log, a time-out, a rate, and who may send what.
//
//	live.Channel("chat_room:{id}", &ChatRoom{}, channel.Use(
//		middleware.Log(log),
//		middleware.Timeout(5*time.Second),
//		middleware.Limit(10, time.Second),
//		middleware.Allow(onlyModerators, "delete", "ban")))
//
// They stand outside of one another in the order in which they are given. Each is a few
// lines around a channel.Channel; one of your own is made like them.
package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/pace"
)

// Log writes a line at Info when a client has joined or left, at Warn when a join or a
// message fails or takes longer than Timeout allows, and at Debug for each message and for
// what channel.Refuse refuses, which clients could have it write without end. Each has the
// time that its handler took, and none a payload.
func Log(log *slog.Logger) channel.Middleware {
	return func(next channel.Channel) channel.Channel { return &logged{next, log} }
}

type logged struct {
	channel.Channel
	log *slog.Logger
}

func (l *logged) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	began := mono.Now()
	accepted, err := l.Channel.HandleJoined(ctx, s, m)
	switch log := l.of(s, began); {
	case isRefusal(err):
		log.DebugContext(ctx, "join refused", "error", err)
	case err != nil:
		log.WarnContext(ctx, "join failed", "error", err)
	case accepted == (channel.Accepted{}):
		log.WarnContext(ctx, "join not accepted")
	default:
		log.InfoContext(ctx, "joined")
	}
	return accepted, err
}

func (l *logged) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	began := mono.Now()
	reply, err := l.Channel.HandleMessage(ctx, s, m)
	switch log := l.of(s, began).With("event", m.Event); {
	case isRefusal(err):
		log.DebugContext(ctx, "message refused", "error", err)
	case err != nil:
		log.WarnContext(ctx, "message failed", "error", err)
	default:
		log.DebugContext(ctx, "message")
	}
	return reply, err
}

// isRefusal reports whether err is a mistake of the client's, or what it may not do.
func isRefusal(err error) bool {
	var refused *channel.Error
	return errors.As(err, &refused) && !errors.Is(err, errTimeout)
}

func (l *logged) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	began := mono.Now()
	l.Channel.HandleLeave(ctx, s, why)
	l.of(s, began).InfoContext(ctx, "left", "reason", string(why))
}

// of is the log, with whom and how long ago a handler was called for.
func (l *logged) of(s *channel.Socket, began mono.Instant) *slog.Logger {
	return l.log.With("topic", s.Topic(), "client", s.ID(), "identity", s.Identity().ID, "took", mono.Now().Sub(began))
}

// Timeout gives HandleJoined and HandleMessage at most d, by their context: a handler
// that ignores it goes on. If d is over, and the handler returns an error, the client
// reads "timeout". It panics unless d is more than 0.
func Timeout(d time.Duration) channel.Middleware {
	if d <= 0 {
		panic(fmt.Sprintf("middleware.Timeout: %v: want more than 0", d))
	}
	return func(next channel.Channel) channel.Channel { return &timed{next, d} }
}

type timed struct {
	channel.Channel
	most time.Duration
}

// errTimeout is what both the client and the log may read.
var errTimeout = channel.Refuse("timeout")

func (t *timed) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.most, errTimeout)
	defer cancel()
	accepted, err := t.Channel.HandleJoined(ctx, s, m)
	return accepted, late(ctx, err)
}

func (t *timed) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.most, errTimeout)
	defer cancel()
	reply, err := t.Channel.HandleMessage(ctx, s, m)
	return reply, late(ctx, err)
}

// late is err, or what the client reads of it if the time was over.
func late(ctx context.Context, err error) error {
	if err != nil && context.Cause(ctx) == errTimeout { //nolint:errorlint // this very one
		return fmt.Errorf("%w: %w", errTimeout, err)
	}
	return err
}

// Limit lets each client send n messages within d in a topic, all of them at once too.
// What is beyond is refused with "rate_limited", and not handled. With events only these
// are counted. It panics unless n and d are more than 0.
//
// It is for what a handler costs; what a client costs the server is bounded by
// transport.Limits.
func Limit(n int, d time.Duration, events ...string) channel.Middleware {
	if n <= 0 || d <= 0 {
		panic(fmt.Sprintf("middleware.Limit: %d in %v: want both more than 0", n, d))
	}
	rate := pace.Within(n, d)
	return func(next channel.Channel) channel.Channel {
		return &limited{Channel: next, rate: rate, events: events, used: map[*channel.Socket]*pace.Bucket{}}
	}
}

type limited struct {
	channel.Channel
	rate   pace.Rate
	events []string

	mu   sync.Mutex // guards used, and what is in it
	used map[*channel.Socket]*pace.Bucket
}

var errRate = channel.Refuse("rate_limited")

func (l *limited) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	if among(l.events, m.Event) && !l.take(s) {
		return nil, errRate
	}
	return l.Channel.HandleMessage(ctx, s, m)
}

func (l *limited) take(s *channel.Socket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.used[s]
	if b == nil {
		b = &pace.Bucket{}
		l.used[s] = b
	}
	return b.Try(l.rate, 1, mono.Now()) == 0
}

func (l *limited) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	l.mu.Lock()
	delete(l.used, s)
	l.mu.Unlock()
	l.Channel.HandleLeave(ctx, s, why)
}

// Allow asks may before each message, or before each of these events. Its error refuses
// the message as one of HandleMessage would: the client reads the reason of one that
// channel.Refuse made, and "internal" otherwise.
func Allow(may func(ctx context.Context, s *channel.Socket, m channel.Message) error, events ...string) channel.Middleware {
	if may == nil {
		panic(errors.New("middleware.Allow: may is nil: want a func"))
	}
	return func(next channel.Channel) channel.Channel { return &allowed{next, may, events} }
}

type allowed struct {
	channel.Channel
	may    func(context.Context, *channel.Socket, channel.Message) error
	events []string
}

func (a *allowed) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	if among(a.events, m.Event) {
		if err := a.may(ctx, s, m); err != nil {
			return nil, err
		}
	}
	return a.Channel.HandleMessage(ctx, s, m)
}

// among reports whether an event is one of events, or events are all.
func among(events []string, event string) bool {
	return len(events) == 0 || slices.Contains(events, event)
}
