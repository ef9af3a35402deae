package raw

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

// InBubble serves a router over pipes in a synctest bubble, where an hour
// passes as soon as everybody waits, and not a moment before. A pipe has no
// buffer: what its other end does not read blocks the writer at once.
func InBubble(t *testing.T, server *http.Server, options []chime.Option, script func(*testing.T, *Site)) {
	t.Helper()
	InBubbleBehind(t, server, options, nil, script)
}

func InBubbleBehind(t *testing.T, server *http.Server, options []chime.Option, use []func(http.Handler) http.Handler, script func(*testing.T, *Site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, live := NewRouter(t, options...)
		app := chi.NewRouter()
		app.Use(use...)
		app.Mount("/socket", live)
		pipes := NewPipes()
		s.Host, s.Dial, s.Wait = "chime.example", pipes.Dial, 24*time.Hour
		server.Handler = app
		server.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(s.Logs, nil), slog.LevelError)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(pipes)
		}()
		t.Cleanup(func() {
			s.Shutdown(t)
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

func NewPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- served{server}:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// served is the server's end of a pipe.
type served struct{ net.Conn }

// CloseWrite is there for net/http, which lets a client read the answer to a
// body that was not read to its end before it closes a connection that has it.
func (served) CloseWrite() error { return nil }

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

// Ignore reads conn in the background until it ends.
func Ignore(conn net.Conn) {
	go func() { _, _ = io.Copy(io.Discard, conn) }()
}
