package server_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// All times here are those of a synctest bubble: they are exact, and pass at
// once. What carries the bytes are pipes.

// bubble is a server in a bubble.
type bubble struct {
	*site
	t       *testing.T
	server  *server.Server
	clients chan *client
}

// client is the server's end of a client socket.
type client struct {
	cs     transport.ClientSocket
	closed chan departure
}

type departure struct {
	why transport.Reason
	at  time.Time
}

func (c *client) Receive(wire.Frame) {}

func (*client) Finish(time.Duration) <-chan struct{} { return nil }
func (c *client) Closed(why transport.Reason)        { c.closed <- departure{why, time.Now()} }

// inBubble runs a test on a server that is reached by n, behind middleware if
// that is not nil.
func inBubble(t *testing.T, n network, cfg server.Config, middleware func(http.Handler) http.Handler, run func(*testing.T, *bubble)) {
	t.Helper()
	n.pipes = true
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, clients: make(chan *client, 100)}
		cfg.Accept = func(cs transport.ClientSocket) transport.Receiver {
			c := &client{cs, make(chan departure, 10)}
			b.clients <- c
			return c
		}
		cfg.Log = slog.New(slog.DiscardHandler)
		if cfg.Grace == 0 {
			cfg.Grace = server.NoGrace // what happens to a connection shows at once
		}
		if cfg.Connect == nil {
			cfg.Connect = func(*http.Request) (transport.Identity, error) { return transport.Identity{}, nil }
		}
		var err error
		if b.server, err = server.New(cfg); err != nil {
			t.Fatal(err)
		}
		h := handlerOf(b.server)
		if middleware != nil {
			h = middleware(h)
		}
		b.site = serve(t, n, h)
		t.Cleanup(func() {
			if err := b.server.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
		run(t, b)
	})
}

func handlerOf(s *server.Server) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /websocket", s.ServeWebSocket)
	mux.HandleFunc("GET /amber", s.ServeAmber)
	mux.HandleFunc("GET /sse", s.ServeStream)
	mux.HandleFunc("POST /sse", s.ServePost)
	mux.HandleFunc("GET /poll", s.ServePoll)
	mux.HandleFunc("POST /poll", s.ServePost)
	mux.HandleFunc("POST /wait", s.ServeWait)
	return mux
}

// line is a client's end: what it reads of a connection, all of it.
type line interface {
	text() (string, error)
	Vanish()
}

// carriers are all that keep a connection open.
var carriers = []struct {
	name string
	network
	open  func(*site) (line, error)
	chime bool // begins with hello
}{
	{"websocket-chime", network{}, func(s *site) (line, error) { return opened(s.chime()) }, true},
	{"websocket-phoenix", network{}, func(s *site) (line, error) { return opened(s.phoenix()) }, false},
	{"sse", network{}, func(s *site) (line, error) { return s.stream("/sse", "Chime-Received: 0") }, true},
	{"sse-tls", network{tls: true}, func(s *site) (line, error) { return s.stream("/sse", "Chime-Received: 0") }, true},
	{"sse-http2", network{http2: true}, func(s *site) (line, error) { return s.stream("/sse", "Chime-Received: 0") }, true},
	{"sse-without-hijack", network{http1WithoutHijack: true}, func(s *site) (line, error) { return s.stream("/sse", "Chime-Received: 0") }, true},
	{"sse-bare", network{}, func(s *site) (line, error) { return s.stream("/sse?join=room:1") }, false},
}

func opened(ws *socket, err error) (line, error) { return socketPeer{ws}, err }

// isSocket reports whether l is a WebSocket, whose clients have to be heard of.
func isSocket(l line) bool { _, ok := l.(socketPeer); return ok }

// onEach runs a test on each carrier.
func onEach(t *testing.T, cfg server.Config, run func(*testing.T, *bubble, line, *client)) {
	t.Helper()
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, c.network, cfg, nil, func(t *testing.T, b *bubble) {
				l, err := c.open(b.site)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(l.Vanish)
				if c.chime {
					text, err := l.text()
					if !strings.HasPrefix(text, `[null,null,"chime","hello",`) {
						t.Fatalf("got %s and error %v, want hello", text, err)
					}
					if es, ok := l.(*stream); ok {
						es.secret = secretIn(text)
					}
				}
				run(t, b, l, <-b.clients)
			})
		})
	}
}

// wantAt reads what must come next, and when.
func wantAt(t *testing.T, l line, start time.Time, after time.Duration, want string) {
	t.Helper()
	text, err := l.text()
	if err != nil {
		text = err.Error()
	}
	if at := time.Since(start); text != want || at != after {
		t.Fatalf("after %v got %s, want after %v %s", at, text, after, want)
	}
}

func wantDeparture(t *testing.T, c *client, start time.Time, after time.Duration, why transport.Reason) {
	t.Helper()
	d := inTime(t, c.closed, "call of Closed")
	if at := d.at.Sub(start); d.why != why || at != after {
		t.Errorf("Closed(%s) after %v, want Closed(%s) after %v", d.why, at, why, after)
	}
	if len(c.closed) > 0 {
		t.Error("Closed was called twice")
	}
}

// inTime receives from a channel. Much more time than that never passes in a
// bubble without reason.
func inTime[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Minute):
		t.Fatalf("no %s after 20m", what)
		panic("not reached")
	}
}

func heartbeat(sent int) string {
	return fmt.Sprintf(`[null,null,"chime","heartbeat",{"sent":%d,"received":0}]`, sent)
}

const said = `[null,null,"room:1","said",{}]`

func say(t *testing.T, c *client) {
	t.Helper()
	if err := c.cs.Send(wire.NewPush("room:1", "said", []byte("{}"), 0), ""); err != nil {
		t.Fatal(err)
	}
}
