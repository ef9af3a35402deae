package transporttest

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// leased cuts answers and WebSockets after a time without anything, and after a time in
// all; 0 is never.
func leased(idle, total time.Duration) carrier {
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		res, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		res.Body = newLease(res.Body, idle, total)
		return res, nil
	}
}

var errCut = errors.New("cut")

// lease is a body, or the server's side of a WebSocket, that is cut at a time.
type lease struct {
	io.ReadCloser
	idle  time.Duration
	quiet *time.Timer // nil: however long
	end   *time.Timer
	over  atomic.Bool
}

func newLease(body io.ReadCloser, idle, total time.Duration) *lease {
	l := &lease{ReadCloser: body, idle: idle}
	cut := func() {
		l.over.Store(true)
		_ = body.Close()
	}
	if idle > 0 {
		l.quiet = time.AfterFunc(idle, cut)
	}
	l.end = time.AfterFunc(total, cut)
	return l
}

func (l *lease) busy() {
	if l.quiet != nil && !l.over.Load() {
		l.quiet.Reset(l.idle)
	}
}

func (l *lease) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if n > 0 {
		l.busy()
	}
	if err != nil && l.over.Load() {
		err = errCut // and not an end
	}
	return n, err
}

// Write is for WebSockets.
func (l *lease) Write(p []byte) (int, error) {
	l.busy()
	server, ok := l.ReadCloser.(io.Writer)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return server.Write(p)
}

func (l *lease) Close() error {
	l.end.Stop()
	if l.quiet != nil {
		l.quiet.Stop()
	}
	return l.ReadCloser.Close()
}
