package chime_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// rawSite is a server that is going to be mistreated. Its clients write bytes
// by hand, since a library would keep them from sending what must be refused.
type rawSite struct {
	live *chime.Router
	hall *hall
	logs *logBook
	host string
	wait time.Duration // how long a client waits for each thing that must come
	dial func() (net.Conn, error)
}

// aSecret stands for what an application must never tell a client.
const aSecret = "hunter2"

// newRawRouter returns a router whose channel misbehaves on request: hall:{id}
// remembers nothing, book:{id} does.
func newRawRouter(t *testing.T, options ...chime.Option) (*rawSite, *chime.Router) {
	t.Helper()
	history := store.NewMemory()
	t.Cleanup(func() { _ = history.Close() })
	s := &rawSite{
		hall: &hall{left: make(chan departure, 1000), began: make(chan string, 100), release: make(chan struct{})},
		logs: &logBook{},
		wait: 20 * time.Second,
	}
	s.live = chime.NewRouter(append([]chime.Option{chime.WithGrace(chime.NoGrace),
		chime.WithConnect(byToken),
		chime.WithStore(history),
		chime.WithLogger(slog.New(slog.NewJSONHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	}, options...)...)
	s.live.Channel("hall:{id}", s.hall)
	s.live.Channel("book:{id}", s.hall, channel.History{Keep: 100, Replay: 50})
	return s, s.live
}

// byToken takes a token for the name of its owner.
func byToken(r *http.Request) (chime.Identity, error) {
	switch token := chime.Token(r); token {
	case "banned":
		return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "banned")
	case "panic":
		panic("password " + aSecret)
	case "no status", "status 200", "status 101", "status 1000":
		status, _ := strconv.Atoi(strings.TrimPrefix(token, "status "))
		return chime.Identity{}, chime.RefuseConnect(status, "no")
	case "nil":
		return chime.Identity{}, (*transport.RefusedError)(nil)
	case "database down":
		return chime.Identity{}, errors.New("dial: password " + aSecret)
	default:
		return chime.Identity{ID: token}, nil
	}
}

// newSite mounts a router at /socket and serves it over TCP.
func newSite(t *testing.T, options ...chime.Option) *rawSite {
	t.Helper()
	s, live := newRawRouter(t, options...)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	s.serve(t, app)
	return s
}

// serve serves app, in which s.live is mounted at /socket.
func (s *rawSite) serve(t *testing.T, app http.Handler) {
	t.Helper()
	server := httptest.NewUnstartedServer(app)
	server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(s.logs, nil), slog.LevelError)
	server.Start()
	s.host = server.Listener.Addr().String()
	s.dial = func() (net.Conn, error) { return net.Dial("tcp", s.host) }
	t.Cleanup(func() {
		s.shutdown(t)
		server.Close()
	})
}

func (s *rawSite) shutdown(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.wait)
	defer cancel()
	if err := s.live.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// connect opens a connection that fails the test if what is read from it never
// comes.
func (s *rawSite) connect(t *testing.T) net.Conn {
	t.Helper()
	conn, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return patient{conn, s.wait}
}

// patient is a connection on which nothing takes for ever. However long a test
// has been at it, each read and each write has the same time.
type patient struct {
	net.Conn
	wait time.Duration
}

func (c patient) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.wait))
	return c.Conn.Read(p)
}

func (c patient) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.wait))
	return c.Conn.Write(p)
}

// request sends a request over a connection of its own and returns the head of
// the answer. Header is a list of "Name: value".
func (s *rawSite) request(t *testing.T, method, target, body string, header ...string) *answer {
	t.Helper()
	return s.requestOn(t, s.connect(t), method, target, body, header...)
}

func (s *rawSite) requestOn(t *testing.T, conn net.Conn, method, target, body string, header ...string) *answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.host+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		req.Body, req.ContentLength = nil, 0
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	if err := req.Write(conn); err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return answerOn(t, bufio.NewReader(conn), req)
}

// raw sends bytes as they are and returns the head of the answer.
func (s *rawSite) raw(t *testing.T, request string) *answer {
	t.Helper()
	conn := s.connect(t)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return answerOn(t, bufio.NewReader(conn), nil)
}

// answer is the head of an answer, and its body as it comes. The body needs no
// closing: its connection is closed when the test ends.
type answer struct {
	Status     string
	StatusCode int
	ProtoMajor int
	Header     http.Header
	Body       io.ReadCloser
	Length     int64 // as it says; -1 if it does not
}

// answerOn reads the head of the answer to req, or to a GET.
func answerOn(t *testing.T, r *bufio.Reader, req *http.Request) *answer {
	t.Helper()
	res, err := http.ReadResponse(r, req) //nolint:bodyclose // see answer
	if err != nil {
		t.Fatalf("answer: %v", err)
	}
	return answerOf(res)
}

func answerOf(res *http.Response) *answer {
	return &answer{res.Status, res.StatusCode, res.ProtoMajor, res.Header, res.Body, res.ContentLength}
}

// wantAnswer reads a whole answer and compares it.
func wantAnswer(t *testing.T, res *answer, status int, body string) {
	t.Helper()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("reading the answer: %v", err)
	}
	if got := strings.TrimSuffix(string(text), "\n"); res.StatusCode != status || got != body {
		t.Errorf("got %d %s, want %d %s", res.StatusCode, clip(got), status, clip(body))
	}
}

// clip shortens what would fill the screen of whoever reads a failure.
func clip(s string) string {
	const most = 300
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// logBook keeps everything that was logged.
type logBook struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}
