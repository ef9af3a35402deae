package transporttest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/transport/transporttest"
)

// rig is a server behind a box, both in memory, in a bubble in which time passes as
// soon as everybody waits.
type rig struct {
	*testing.T
	box    *transporttest.Box
	dial   func() (net.Conn, error)
	client *http.Client

	mu    sync.Mutex
	posts []string // bodies, in the order in which they came to the server
}

func inBubble(t *testing.T, name string, script func(*rig)) {
	t.Helper()
	network, known := transporttest.Named(name)
	if !known {
		t.Fatalf("there is no network %s", name)
	}
	behind(t, network, script)
}

// wait is how long the client of a rig waits for the end of an answer.
const wait = time.Hour

func behind(t *testing.T, network transporttest.Network, script func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t}
		inside, outside := raw.NewPipes(), raw.NewPipes()
		server := &http.Server{Handler: r.mux()}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(inside)
		}()
		r.dial = outside.Dial
		r.box = network.Serve(outside, "http://chime.example", func(context.Context, string, string) (net.Conn, error) { return inside.Dial() })
		way := &http.Transport{
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return outside.Dial() },
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: true,
			DisableKeepAlives: network.Name == "http-1.0",
		}
		r.client = &http.Client{Transport: way, Timeout: wait}
		script(r)
		r.box.Close()
		way.CloseIdleConnections()
		_ = server.Close()
		<-done
		time.Sleep(time.Minute) // net/http lingers on a connection that it has closed
	})
}

func (r *rig) mux() http.Handler {
	mux := http.NewServeMux()
	// A WebSocket says hello, and then what it hears.
	mux.HandleFunc("GET /websocket", func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") != "websocket" {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			r.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "heard "+line)
		}
	})
	// A stream has so many parts of a size, one every so often.
	mux.HandleFunc("GET /sse", func(w http.ResponseWriter, req *http.Request) {
		parts, _ := strconv.Atoi(req.FormValue("parts"))
		every, _ := time.ParseDuration(req.FormValue("every"))
		size, _ := strconv.Atoi(req.FormValue("size"))
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Encoding", "identity")
		w.Header().Set("X-Of-The-Server", "yes")
		for n := range parts {
			_, _ = fmt.Fprintf(w, "data: %d%s\n\n", n, strings.Repeat(".", size))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(every):
			case <-req.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("POST /post", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.posts = append(r.posts, string(body))
		_, _ = fmt.Fprintf(w, "post %d", len(r.posts))
	})
	mux.HandleFunc("GET /nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /broken", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("GET /headers", func(w http.ResponseWriter, req *http.Request) {
		_ = req.Header.Write(w)
	})
	return mux
}

// socket is a WebSocket, as far as it is opened.
type socket struct {
	conn net.Conn
	*bufio.Reader
	status int
	page   string // instead of a WebSocket
}

func (r *rig) upgrade() *socket {
	r.Helper()
	conn, err := r.dial()
	if err != nil {
		r.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodGet, "http://chime.example/websocket", nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	if err := req.Write(conn); err != nil {
		r.Fatal(err)
	}
	s := &socket{conn: conn, Reader: bufio.NewReader(conn)}
	res, err := http.ReadResponse(s.Reader, req) //nolint:bodyclose // a WebSocket has none, and a page is read to its end
	if err != nil {
		r.Fatal(err)
	}
	s.status = res.StatusCode
	if s.status != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(res.Body)
		s.page = string(text)
		_ = conn.Close()
	}
	return s
}

// wantNoUpgrade checks that the server was asked without one.
func (r *rig) wantNoUpgrade() {
	r.Helper()
	if s := r.upgrade(); s.status != http.StatusBadRequest || s.page != "no upgrade\n" {
		r.Errorf("upgrade: got %d %q, want the server's answer to a request without one", s.status, s.page)
	}
}

// hears returns what has come after a time, line by line, and whether it has ended.
func (s *socket) hears(wait time.Duration) (lines string, ended bool) {
	_ = s.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		line, err := s.ReadString('\n')
		lines += strings.ReplaceAll(line, "\n", ";")
		if err != nil {
			return lines, !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

func (s *socket) say(text string) { _, _ = io.WriteString(s.conn, text+"\n") }

// event is a part of an answer, and when it came: since the request was sent.
type event struct {
	text string
	at   time.Duration
}

// streamed is what came of a stream.
type streamed struct {
	header http.Header
	proto  string
	length int64
	began  time.Duration // since the request was sent
	events []event
	err    error // nil: it ended well
}

func (r *rig) stream(query string, header ...string) (s streamed) {
	start := time.Now()
	req, _ := http.NewRequest(http.MethodGet, r.box.URL+"/sse?"+query, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		return streamed{err: err}
	}
	defer res.Body.Close()
	s = streamed{header: res.Header, proto: res.Proto, length: res.ContentLength, began: time.Since(start)}
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadString('\n')
		if n, found := strings.CutPrefix(line, "data: "); found {
			s.events = append(s.events, event{strings.Trim(n, ".\n"), time.Since(start)})
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.err = err
			}
			return s
		}
	}
}

// wantEvents checks a stream that ends well.
func (r *rig) wantEvents(query string, began time.Duration, want ...event) {
	r.Helper()
	s := r.stream(query)
	if s.err != nil || s.began != began || fmt.Sprint(s.events) != fmt.Sprint(want) {
		r.Errorf("stream %s: got %v from %v on and %v, want %v from %v on", query, s.events, s.began, s.err, want, began)
	}
}

// post returns the status and the body of an answer.
func (r *rig) post(body string) (int, string) {
	res, err := r.client.Post(r.box.URL+"/post", "text/plain", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

func (r *rig) wantPosts(want ...string) {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if fmt.Sprint(r.posts) != fmt.Sprint(want) {
		r.Errorf("POSTs that came to the server: got %q, want %q", r.posts, want)
	}
}
