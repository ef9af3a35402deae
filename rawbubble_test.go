package chime_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
)

// inBubble serves a router over pipes in a synctest bubble, where an hour
// passes as soon as everybody waits, and not a moment before. A pipe has no
// buffer: what its other end does not read blocks the writer at once.
func inBubble(t *testing.T, server *http.Server, options []chime.Option, script func(*testing.T, *rawSite)) {
	t.Helper()
	inBubbleBehind(t, server, options, nil, script)
}

func inBubbleBehind(t *testing.T, server *http.Server, options []chime.Option, use []func(http.Handler) http.Handler, script func(*testing.T, *rawSite)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, live := newRawRouter(t, options...)
		app := chi.NewRouter()
		app.Use(use...)
		app.Mount("/socket", live)
		pipes := newPipes()
		s.host, s.dial, s.wait = "chime.example", pipes.dial, 24*time.Hour
		server.Handler = app
		server.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(s.logs, nil), slog.LevelError)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(pipes)
		}()
		t.Cleanup(func() {
			s.shutdown(t)
			if err := server.Shutdown(context.Background()); err != nil {
				t.Errorf("server: %v", err)
			}
			<-done
		})
		script(t, s)
	})
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// ignore reads conn in the background until it ends.
func ignore(conn net.Conn) {
	go func() { _, _ = io.Copy(io.Discard, conn) }()
}
