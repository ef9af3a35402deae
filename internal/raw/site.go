// Package raw has clients that write WebSocket frames, requests and event streams
// byte by byte, since a library would keep them from sending what must be refused,
// and a server for them whose channel misbehaves on request. It is for tests.
package raw

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

// Site is a server that is going to be mistreated. Its clients write bytes
// by hand, since a library would keep them from sending what must be refused.
type Site struct {
	Live *chime.Router
	Hall *Hall
	Logs *LogBook
	Host string
	Wait time.Duration // how long a client waits for each thing that must come
	Dial func() (net.Conn, error)
}

// Members returns the members of a topic.
func (s *Site) Members(t *testing.T, topic string) []channel.Member {
	t.Helper()
	list, err := s.Live.Members(t.Context(), topic)
	if err != nil {
		t.Errorf("members of %s: %v", topic, err)
	}
	return list
}

// Secret stands for what an application must never tell a client.
const Secret = "hunter2"

// NewRouter returns a router whose channel misbehaves on request: hall:{id}
// remembers nothing, book:{id} does.
func NewRouter(t *testing.T, options ...chime.Option) (*Site, *chime.Router) {
	t.Helper()
	history := store.NewMemory()
	t.Cleanup(func() { _ = history.Close() })
	s := &Site{
		Hall: &Hall{Left: make(chan Departure, 1000), began: make(chan string, 100), Release: make(chan struct{})},
		Logs: &LogBook{},
		Wait: slow,
	}
	s.Live = chime.NewRouter(append([]chime.Option{chime.WithGrace(chime.NoGrace),
		chime.WithConnect(ByToken),
		chime.WithStore(history),
		chime.WithLogger(slog.New(slog.NewJSONHandler(s.Logs, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	}, options...)...)
	s.Live.Channel("hall:{id}", s.Hall)
	s.Live.Channel("book:{id}", s.Hall, channel.History{Keep: 100, Replay: 50})
	return s, s.Live
}

// ByToken takes a token for the name of its owner.
func ByToken(r *http.Request) (chime.Identity, error) {
	switch token := chime.Token(r); token {
	case "banned":
		return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "banned")
	case "panic":
		panic("password " + Secret)
	case "no status", "status 200", "status 101", "status 1000":
		status, _ := strconv.Atoi(strings.TrimPrefix(token, "status "))
		return chime.Identity{}, chime.RefuseConnect(status, "no")
	case "nil":
		return chime.Identity{}, (*transport.RefusedError)(nil)
	case "database down":
		return chime.Identity{}, errors.New("dial: password " + Secret)
	default:
		return chime.Identity{ID: token}, nil
	}
}

// NewSite mounts a router at /socket and serves it over TCP.
func NewSite(t *testing.T, options ...chime.Option) *Site {
	t.Helper()
	s, live := NewRouter(t, options...)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	s.Serve(t, app)
	return s
}

// Serve serves app, in which s.live is mounted at /socket.
func (s *Site) Serve(t *testing.T, app http.Handler) {
	t.Helper()
	server := httptest.NewUnstartedServer(app)
	server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(s.Logs, nil), slog.LevelError)
	server.Start()
	s.Host = server.Listener.Addr().String()
	s.Dial = func() (net.Conn, error) { return net.Dial("tcp", s.Host) }
	t.Cleanup(func() {
		s.Shutdown(t)
		server.Close()
	})
}

func (s *Site) Shutdown(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.Wait)
	defer cancel()
	if err := s.Live.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// EndSoon ends all client sockets. With more time Shutdown waits 5 s for the poll that tells
// a client of it, which does not come of one that has vanished.
func (s *Site) EndSoon() {
	soon, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = s.Live.Shutdown(soon)
}

// Connect opens a connection that fails the test if what is read from it never
// comes.
func (s *Site) Connect(t *testing.T) net.Conn {
	t.Helper()
	conn, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return patient{conn, s.Wait}
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

// Request sends a request over a connection of its own and returns the head of
// the answer. Header is a list of "Name: value".
func (s *Site) Request(t *testing.T, method, target, body string, header ...string) *Answer {
	t.Helper()
	return s.RequestOn(t, s.Connect(t), method, target, body, header...)
}

func (s *Site) RequestOn(t *testing.T, conn net.Conn, method, target, body string, header ...string) *Answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.Host+target, strings.NewReader(body))
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
	return AnswerOn(t, bufio.NewReader(conn), req)
}

// Raw sends bytes as they are and returns the head of the answer.
func (s *Site) Raw(t *testing.T, request string) *Answer {
	t.Helper()
	conn := s.Connect(t)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return AnswerOn(t, bufio.NewReader(conn), nil)
}

// Answer is the head of an answer, and its body as it comes. The body needs no
// closing: its connection is closed when the test ends.
type Answer struct {
	Status     string
	StatusCode int
	ProtoMajor int
	Header     http.Header
	Body       io.ReadCloser
	Length     int64 // as it says; -1 if it does not
}

// AnswerOn reads the head of the answer to req, or to a GET.
func AnswerOn(t *testing.T, r *bufio.Reader, req *http.Request) *Answer {
	t.Helper()
	res, err := http.ReadResponse(r, req) //nolint:bodyclose // see answer
	if err != nil {
		t.Fatalf("answer: %v", err)
	}
	return AnswerOf(res)
}

func AnswerOf(res *http.Response) *Answer {
	return &Answer{res.Status, res.StatusCode, res.ProtoMajor, res.Header, res.Body, res.ContentLength}
}

// Want reads a whole answer and compares it.
func (res *Answer) Want(t *testing.T, status int, body string) {
	t.Helper()
	text := res.text(t)
	if got := strings.TrimSuffix(text, "\n"); res.StatusCode != status || got != body {
		t.Errorf("got %d %s, want %d %s", res.StatusCode, Clip(got), status, Clip(body))
	}
}

// text is the whole body; of a stream, which has no end, what has come.
func (res *Answer) text(t *testing.T) string {
	t.Helper()
	if res.Header.Get("Content-Type") == "text/event-stream" {
		begin := make([]byte, 1<<10)
		n, _ := res.Body.Read(begin)
		return string(begin[:n])
	}
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("reading the answer: %v", err)
	}
	return string(all)
}

// slow is how long a test waits for what must happen. It is never waited for long.
const slow = 20 * time.Second

// Await receives from a channel.
func Await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(slow):
		t.Fatalf("%s did not come", what)
		panic("not reached")
	}
}

// Clip shortens what would fill the screen of whoever reads a failure.
func Clip(s string) string {
	const most = 300
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// LogBook keeps everything that was logged.
type LogBook struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *LogBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *LogBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}
