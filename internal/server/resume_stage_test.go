package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// hall is a server on a flaky network. Its clients are who their header As says.
type hall struct {
	net     *flaky
	server  *server.Server
	apps    chan *app
	answers bool // the application replies to what has a ref
	http    *http.Server
	serving chan struct{}
}

func newHall(cfg server.Config) (*hall, error) {
	h := &hall{net: newFlaky(), apps: make(chan *app, 10_000), serving: make(chan struct{})}
	if cfg.Accept == nil {
		cfg.Accept = func(cs transport.ClientSocket) transport.Receiver {
			a := &app{cs: cs, answers: h.answers, closed: make(chan departure, 10)}
			h.apps <- a
			return a
		}
	}
	if cfg.Connect == nil {
		cfg.Connect = func(r *http.Request) (transport.Identity, error) {
			return transport.Identity{ID: r.Header.Get("As")}, nil
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if h.server, err = server.New(cfg); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /websocket", h.server.ServeWebSocket)
	mux.HandleFunc("GET /sse", h.server.ServeStream)
	mux.HandleFunc("POST /sse", h.server.ServePost)
	mux.HandleFunc("GET /poll", h.server.ServePoll)
	mux.HandleFunc("POST /poll", h.server.ServePost)
	mux.HandleFunc("POST /bye", h.server.ServeBye)
	h.http = &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(h.serving)
		_ = h.http.Serve(h.net)
	}()
	return h, nil
}

// close ends the server, and waits for it, but not for ever: what goes on by itself
// would keep the time of a bubble going.
func (h *hall) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	err := h.server.Shutdown(ctx)
	if err != nil {
		h.net.end()
	}
	_ = h.http.Close()
	<-h.serving
	return err
}

// inHall runs a test on a hall, in a bubble.
func inHall(t *testing.T, cfg server.Config, run func(*testing.T, *hall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, err := newHall(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := h.close(); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		}()
		run(t, h)
	})
}

// app is the application's end of a client socket. It notes what is said.
type app struct {
	cs      transport.ClientSocket
	answers bool
	closed  chan departure

	mu   sync.Mutex // guards what follows
	got  []string   // payloads of frames of the client
	sent []string   // counted frames to it, as they look on the wire
}

// Receive implements transport.Receiver.
func (a *app) Receive(f wire.Frame) {
	a.mu.Lock()
	a.got = append(a.got, string(f.Payload))
	a.mu.Unlock()
	if a.answers && !f.Ref.Null() {
		_ = a.send(wire.NewReply(f.JoinRef, f.Ref, f.Topic, "ok", []byte("{}")))
	}
}

// Closed implements transport.Receiver.
func (*app) Finish(time.Duration) <-chan struct{} { return nil }
func (a *app) Closed(why transport.Reason)        { a.closed <- departure{why, time.Now()} }

func (a *app) send(m *wire.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.cs.Send(m, "")
	if err == nil {
		a.sent = append(a.sent, string(m.AppendText(nil, true, "")))
	}
	return err
}

// say sends a push that holds a number, and returns how it looks.
func (a *app) say(n int) (string, error) {
	m := wire.NewPush("room:1", "said", fmt.Appendf(nil, `{"n":%d}`, n), 0)
	return string(m.AppendText(nil, true, "")), a.send(m)
}

func (a *app) heard() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.got...)
}

func (a *app) said() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.sent...)
}

func (a *app) saidSoFar() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.sent)
}

// carrier is one connection of the chime dialect: a WebSocket, a stream, or polls on one
// connection of HTTP.
type carrier struct {
	transport string
	plug      *plug
	hello     wire.Hello
	goesOn    bool // it is polled with the secret of the connection that carries the client socket: no hello
	ws        *socket
	es        *stream
	polls     *pollCarrier
}

// knock says how a client asks for a connection.
type knock struct {
	transport string
	secret    string // of the client socket to go on with; "" for a new one
	received  uint64
	as        string // an identity
	fault     fault
}

// refusal is the answer to a knock that was not let in.
type refusal struct {
	status int
	body   string
}

func (e *refusal) Error() string { return strconv.Itoa(e.status) + " " + e.body }

// helloWait is how long a client waits for hello.
const helloWait = 10 * time.Second

// open asks for a connection, and reads its hello.
func (h *hall) open(k knock) (*carrier, error) {
	conn, err := h.net.dial(k.fault)
	if err != nil {
		return nil, err
	}
	cr := &carrier{transport: k.transport, plug: conn}
	_ = conn.SetReadDeadline(time.Now().Add(helloWait))
	if err := cr.begin(k); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if cr.polls != nil {
		err = cr.polls.begin(cr)
	} else {
		var text string
		if _, text, err = cr.read(); err == nil {
			err = decodeChime(text, wire.EventHello, &cr.hello)
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Time{})
	return cr, nil
}

func (cr *carrier) begin(k knock) error {
	if k.transport == transport.LongPoll {
		cr.polls = newPollCarrier(cr.plug, k)
		return nil
	}
	lines := []string{"GET /sse HTTP/1.1", "Host: example.com", "As: " + k.as}
	if k.transport == transport.WebSocket {
		protocols := "chime.v1"
		if k.secret != "" {
			protocols += ", chime.secret." + k.secret
		}
		lines = []string{
			"GET /websocket HTTP/1.1", "Host: example.com", "As: " + k.as, "Connection: Upgrade", "Upgrade: websocket",
			"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: " + protocols,
		}
	} else {
		lines = append(lines, "Chime-Received: "+strconv.FormatUint(k.received, 10))
		if k.secret != "" {
			lines = append(lines, "Chime-Secret: "+k.secret)
		}
	}
	if _, err := io.WriteString(cr.plug, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return err
	}
	r := bufio.NewReaderSize(cr.plug, 256)
	res, err := http.ReadResponse(r, nil) //nolint:bodyclose // its connection is closed
	if err != nil {
		return err
	}
	switch {
	case k.transport == transport.WebSocket && res.StatusCode == http.StatusSwitchingProtocols:
		cr.ws = &socket{Conn: cr.plug, r: r, head: res}
	case k.transport == transport.SSE && res.StatusCode == http.StatusOK:
		cr.es = &stream{r: bufio.NewReaderSize(res.Body, 256)}
	default:
		body, _ := io.ReadAll(res.Body)
		return &refusal{res.StatusCode, strings.TrimSpace(string(body))}
	}
	return nil
}

// read returns the next frame, and its number if it has one, which it has not on a
// WebSocket. The end is a *End if the server says why.
func (cr *carrier) read() (number uint64, text string, err error) {
	if cr.ws != nil {
		text, err = cr.ws.text()
		return 0, text, err
	}
	if cr.polls != nil {
		return cr.polls.read()
	}
	lines, err := cr.es.event()
	if err != nil {
		return 0, "", err
	}
	for _, line := range lines {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			if number, err = strconv.ParseUint(id, 10, 64); err != nil {
				return 0, "", err
			}
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			text = data
		}
	}
	if end := farewellIn(text); end != nil {
		return 0, "", end
	}
	return number, text, nil
}

// farewellIn returns what a frame says that ends a connection, nil of any other.
func farewellIn(text string) error {
	end := &End{}
	if decodeChime(text, wire.EventClosed, end) == nil {
		return end
	}
	return nil
}

// decodeChime reads the payload of a frame of the topic chime.
func decodeChime(text, event string, into any) error {
	var f [5]json.RawMessage
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return err
	}
	if string(f[2]) != `"chime"` || string(f[3]) != strconv.Quote(event) {
		return fmt.Errorf("got %s, want %s", text, event)
	}
	return json.Unmarshal(f[4], into)
}

// post sends a body, and returns the answer. It waits for it as long as a
// client waits.
func (h *hall) post(target, secret, as, body string, f fault) (status int, answer string, err error) {
	conn, err := h.net.dial(f)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	return exchange(conn, target, secret, as, body)
}

// postWait is how long a client waits for the answer to a POST.
const postWait = 2 * time.Second

func exchange(conn *plug, target, secret, as, body string) (status int, answer string, err error) {
	_ = conn.SetReadDeadline(time.Now().Add(postWait))
	head := "POST " + target + " HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\nAs: " + as + "\r\n"
	if secret != "" {
		head += "Chime-Secret: " + secret + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body); err != nil {
		return 0, "", err
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(conn, 256), nil)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, strings.TrimSpace(string(text)), err
}

func batch(first, received uint64, frames ...string) string {
	return fmt.Sprintf(`{"first":%d,"received":%d,"frames":[%s]}`, first, received, strings.Join(frames, ","))
}

func ack(received uint64) string {
	return fmt.Sprintf(`[null,null,"chime","ack",{"received":%d}]`, received)
}
