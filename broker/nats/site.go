package nats

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/quiet"
	"github.com/go-chime/chime/internal/task"
)

// site is what the parts of a broker stand on: the line to the servers, what this one is called
// there, and when it ends.
type site struct {
	conn  *client.Conn
	at    string // the servers, without what is secret
	calls *calls
	names names
	id    string // of this broker, random: what its node is called is not known before StartCluster
	log   *slog.Logger

	tasks task.Group
	ctx   context.Context // ends with Close
	end   context.CancelFunc
	worry []chan struct{} // one for each stream: full when all that is known of it has to be looked at again

	forbidden atomic.Pointer[error] // what the servers refuse this account
}

func newSite(ctx context.Context, o Options) *site {
	var id [6]byte
	_, _ = rand.Read(id[:])
	s := &site{
		at: o.shown(), names: names{o.Prefix}, id: base64.RawURLEncoding.EncodeToString(id[:]),
		log: slog.New(quiet.New(o.Log.Handler())),
	}
	for range o.Streams {
		s.worry = append(s.worry, make(chan struct{}, 1))
	}
	s.ctx, s.end = context.WithCancel(context.WithoutCancel(ctx))
	return s
}

// suspect has all topics looked at when that is possible again. It does not block.
func (s *site) suspect() {
	for i := range s.worry {
		s.suspectOf(i)
	}
}

// suspectOf has those of one stream looked at.
func (s *site) suspectOf(stream int) {
	select {
	case s.worry[stream] <- struct{}{}:
	default:
	}
}

// subscribe has f called with what comes by a subject, one after the other.
func (s *site) subscribe(subject string, f func(*client.Msg)) error {
	_, err := s.conn.Subscribe(subject, s.untilEnd(f))
	return err
}

// untilEnd is f as long as this broker is open. Close waits for a call that goes on: a
// connection that is closed waits for none.
func (s *site) untilEnd(f func(*client.Msg)) func(*client.Msg) {
	return func(m *client.Msg) {
		s.tasks.Do(func() {
			if s.ctx.Err() == nil {
				f(m)
			}
		})
	}
}

// reached returns an error while there is no connection.
func (s *site) reached() error {
	switch {
	case s.conn.IsConnected():
		return nil
	case s.conn.IsClosed():
		return errClosed
	}
	return fmt.Errorf("%s: %w: %v", s.at, broker.ErrUnavailable, s.conn.Status())
}

// most is how many bytes the servers take, besides headers.
func (s *site) most() int { return int(s.conn.MaxPayload()) - overhead }

const (
	// least is the least that the servers must take.
	least = 32 << 10

	pingInterval = 5 * time.Second // a connection is given up when two pings are not answered
	maxPings     = 2
	dialTimeout  = 2 * time.Second
)

// connect tries until ctx ends where nobody listens. What becomes of the connection later is
// in the log, and is a reason to suspect.
func (s *site) connect(ctx context.Context, o Options) error {
	opts := []client.Option{
		client.Name("chime " + o.Prefix), client.PingInterval(pingInterval), client.MaxPingsOutstanding(maxPings),
		client.Timeout(dialTimeout), client.MaxReconnects(-1), client.ReconnectWait(100 * time.Millisecond),
		client.ReconnectJitter(100*time.Millisecond, time.Second),
		client.ReconnectBufSize(-1),   // what can't be sent is an error, not late
		client.IgnoreAuthErrorAbort(), // a server that does not know its accounts yet refuses twice, and is not to be left for ever
		client.DisconnectErrHandler(func(_ *client.Conn, err error) {
			if s.ctx.Err() == nil {
				s.log.Warn("broker/nats: the connection is lost", "server", s.at, "error", err)
			}
		}),
		client.ReconnectHandler(func(c *client.Conn) {
			s.log.Info("broker/nats: the connection is restored", "server", redact(c.ConnectedUrl()))
			s.suspect()
		}),
		client.ErrorHandler(func(_ *client.Conn, _ *client.Subscription, err error) { s.failed(err) }),
	}
	if o.Server != nil {
		opts = append(opts, client.InProcessServer(o.Server))
	}
	opts = append(opts, o.Connect...)
	for wait := pause; ; wait = min(2*wait, maxPause) {
		conn, err := client.Connect(o.URL, opts...)
		if err == nil {
			s.conn = conn
			return nil
		}
		if refused(err) {
			return fmt.Errorf("connect to %s: %w", s.at, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("connect to %s: %w: %w: %w", s.at, broker.ErrUnavailable, err, context.Cause(ctx))
		}
	}
}

// failed is told of announcements that were dropped, among others.
func (s *site) failed(err error) {
	if errors.Is(err, client.ErrPermissionViolation) { // to look again would be refused, too
		s.forbidden.Store(&err)
		s.log.Error("broker/nats: the account lacks a right", "error", err)
		return
	}
	s.log.Warn("broker/nats: announcements may be lost", "error", err)
	s.suspect()
}

// refused reports whether to connect again would help nothing: somebody listens, and wants or
// shows other credentials.
func refused(err error) bool {
	for _, e := range []error{
		client.ErrAuthorization, client.ErrAuthExpired, client.ErrAuthRevoked, client.ErrAccountAuthExpired, client.ErrSecureConnRequired, client.ErrSecureConnWanted,
		client.ErrNkeyButNoSigCB, client.ErrNkeysNotSupported,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	_, file := errors.AsType[*fs.PathError](err)                                              // of certificates or credentials
	return unverified || plain || file || strings.Contains(err.Error(), "remote error: tls:") // an alert has no type
}
