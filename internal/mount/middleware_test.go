package mount_test

import (
	"bufio"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/go-chime/chime/internal/raw"
)

// behind serves a router mounted at /socket behind middleware.
func behind(t *testing.T, use ...func(http.Handler) http.Handler) *raw.Site {
	t.Helper()
	s, live := raw.NewRouter(t)
	app := chi.NewRouter()
	app.Use(use...)
	app.Mount("/socket", live)
	s.Serve(t, app)
	return s
}

func TestBehindMiddleware(t *testing.T) {
	discard := log.New(&raw.LogBook{}, "", 0)
	logger := middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: discard, NoColor: true})
	for name, use := range map[string][]func(http.Handler) http.Handler{
		"Logger":    {logger},
		"Recoverer": {middleware.Recoverer},
		"RequestID": {middleware.RequestID, middleware.SetHeader("X-Served-By", "test")},
		"Timeout":   {middleware.Timeout(time.Minute)},
		"Compress":  {middleware.Compress(5, "text/*", "application/json")},
		"Throttle":  {middleware.Throttle(10)},
		"GetHead":   {middleware.GetHead},
		"NoCache":   {middleware.NoCache, middleware.StripSlashes, middleware.CleanPath, middleware.Heartbeat("/ping")},
		"a wrapper with Unwrap": {func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(unwrapping{w}, r) })
		}},
		"a wrapper with Flush and Hijack of its own": {func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(forwarding{w}, r) })
		}},
		"all": {middleware.RequestID, logger, middleware.Recoverer, middleware.Compress(5, "text/*"), middleware.Timeout(time.Minute), middleware.Throttle(10)},
	} {
		t.Run(name, func(t *testing.T) { wantServed(t, behind(t, use...), "/socket") })
	}
}

// unwrapping is a wrapper as ResponseController wants it.
type unwrapping struct{ http.ResponseWriter }

func (u unwrapping) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// forwarding is a wrapper as they were before ResponseController.
type forwarding struct{ http.ResponseWriter }

func (f forwarding) Flush() { f.ResponseWriter.(http.Flusher).Flush() }
func (f forwarding) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return f.ResponseWriter.(http.Hijacker).Hijack()
}

// flushing can flush, and nothing else: its streams stay in their handlers.
type flushing struct{ http.ResponseWriter }

func (f flushing) Flush() { f.ResponseWriter.(http.Flusher).Flush() }

// opaque is a wrapper that nobody can look behind.
type opaque struct{ http.ResponseWriter }

// TestWriterThatCannotFlushOrHijackIsNamed: many a middleware forgets Unwrap,
// and a client that is told nothing tries for ever.
func TestWriterThatCannotFlushOrHijackIsNamed(t *testing.T) {
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(opaque{w}, r) })
	}
	timeout := func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "too late") }
	for name, c := range map[string]struct {
		use    []func(http.Handler) http.Handler
		blames string
	}{
		"a wrapper":                        {[]func(http.Handler) http.Handler{wrap}, "mount_test.opaque"},
		"a wrapper behind one with Unwrap": {[]func(http.Handler) http.Handler{wrap, middleware.Compress(5, "text/*")}, "mount_test.opaque"},
		"http.TimeoutHandler":              {[]func(http.Handler) http.Handler{timeout}, "*http.timeoutWriter"},
	} {
		t.Run(name, func(t *testing.T) {
			s := behind(t, c.use...)
			stream := `{"reason":"event streams are not possible here: ` + c.blames + ` can't flush"}`
			socket := `{"reason":"WebSockets are not possible here: ` + c.blames + ` can't hijack"}`
			s.Request(t, "GET", "/socket/sse?join=hall:1", "").Want(t, http.StatusInternalServerError, stream)
			s.Request(t, "GET", "/socket/sse", "", "Chime-Received: 0").Want(t, http.StatusInternalServerError, stream)
			s.Request(t, "GET", raw.PhoenixTarget, "", raw.UpgradeHeader...).Want(t, http.StatusInternalServerError, socket)
			s.Request(t, "GET", raw.ChimeTarget, "", append(raw.UpgradeHeader, raw.ChimeProtocol)...).Want(t, http.StatusInternalServerError, socket)
			if got := strings.Count(s.Logs.String(), `"type":"`+c.blames+`"`); got != 4 {
				t.Errorf("%d lines of the log name the type, want 4: %s", got, s.Logs)
			}
			s.Request(t, "GET", "/socket/", "").Want(t, http.StatusOK, "chime: connect below this path, at websocket or sse; the client is chime.js")
		})
	}
}

func TestStreamWorksWhereItCanOnlyBeFlushed(t *testing.T) {
	s := behind(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(flushing{w}, r) })
	})
	const socket = `{"reason":"WebSockets are not possible here: mount_test.flushing can't hijack"}`
	s.Request(t, "GET", raw.PhoenixTarget, "", raw.UpgradeHeader...).Want(t, http.StatusInternalServerError, socket)
	es, secret := s.Half(t)
	s.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`,["1",null,"hall:1","say",{"n":1}]]}`).WantApplied(t, 2)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `[null,null,"hall:1","say",{"n":1}]`)
	_ = es.Conn.Close()
	s.Hall.WantLeft(t, "hall:1", "attacker", "vanished")
}

// TestCompressLeavesStreamsAlone: a compressor holds events back until it has
// enough of them.
func TestCompressLeavesStreamsAlone(t *testing.T) {
	s := behind(t, middleware.Compress(5, "text/*", "text/event-stream", "application/json"))
	es := s.Bare(t, "join=hall:1", "Accept-Encoding: gzip, deflate")
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	for name, want := range map[string]string{
		"Content-Type":           "text/event-stream",
		"Content-Encoding":       "identity",
		"Cache-Control":          "no-cache, no-store, no-transform",
		"X-Accel-Buffering":      "no",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := es.Head.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	res := s.Request(t, "GET", "/socket/chime.js", "", "Accept-Encoding: gzip")
	if got := res.Header.Get("Content-Encoding"); res.StatusCode != http.StatusOK || got != "gzip" {
		t.Errorf("chime.js: got %s and encoding %q, want 200 and gzip", res.Status, got)
	}
}

// TestThrottleHasItsTokensBack: a hijacked stream or WebSocket lives without
// its handler, so it keeps no place that Throttle has to give.
func TestThrottleHasItsTokensBack(t *testing.T) {
	s := behind(t, middleware.ThrottleBacklog(1, 10, 20*time.Second)) // a handler returns a moment after its client is served
	for range 3 {
		_ = s.Witness(t)
	}
	s.Request(t, http.MethodPost, "/socket/bye", "").Want(t, http.StatusNoContent, "")
}

// TestRecovererCatchesAConnectThatPanics and the server goes on.
func TestRecovererCatchesAConnectThatPanics(t *testing.T) {
	s := behind(t, middleware.RequestLogger(quiet{}), middleware.Recoverer)
	w := s.Witness(t)
	res := s.Request(t, "GET", "/socket/sse?join=hall:1", "", "Authorization: Bearer panic")
	if res.StatusCode != http.StatusInternalServerError {
		t.Errorf("got %s, want 500", res.Status)
	}
	w.IsWell()
}

// quiet is a log in which chi's Recoverer finds a place for a panic other than
// standard error.
type quiet struct{}

func (quiet) NewLogEntry(*http.Request) middleware.LogEntry   { return quiet{} }
func (quiet) Write(int, int, http.Header, time.Duration, any) {}
func (quiet) Panic(any, []byte)                               {}
