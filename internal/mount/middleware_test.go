package mount_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
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
	return raw.Behind(t, nil, use...)
}

func TestBehindMiddleware(t *testing.T) {
	discard := log.New(&raw.LogBook{}, "", 0)
	logger := middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: discard, NoColor: true})
	for name, use := range map[string][]func(http.Handler) http.Handler{
		"Logger":                {logger},
		"Recoverer":             {middleware.Recoverer},
		"RequestID":             {middleware.RequestID, middleware.SetHeader("X-Served-By", "test")},
		"Timeout":               {middleware.Timeout(time.Minute)},
		"Compress":              {middleware.Compress(5, "text/*", "application/json")},
		"Throttle":              {middleware.Throttle(10)},
		"GetHead":               {middleware.GetHead},
		"NoCache":               {middleware.NoCache, middleware.StripSlashes, middleware.CleanPath, middleware.Heartbeat("/ping")},
		"RealIP":                {middleware.RealIP}, //nolint:staticcheck // it writes r.RemoteAddr, as many apps have it do
		"AllowContentType":      {middleware.AllowContentType("application/json", "text/plain")},
		"a buffer that flushes": {wrapped(func(w http.ResponseWriter) http.ResponseWriter { return &flushedBuffer{holding{ResponseWriter: w}} })},
		"a wrapper with Unwrap": {func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(unwrapping{w}, r) })
		}},
		"a wrapper with Flush and Hijack of its own": {func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(forwarding{w}, r) })
		}},
		"all": {middleware.RequestID, logger, middleware.Recoverer, middleware.Compress(5, "text/*"), middleware.Timeout(time.Minute), middleware.Throttle(10)},
	} {
		t.Run(name, func(t *testing.T) { behind(t, use...).WantServed(t, "/socket") })
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
			if got := strings.Count(s.Logs.String(), `"type":"`+c.blames+`"`); got != 2 { // one for streams, one for WebSockets
				t.Errorf("%d lines of the log name the type, want 2: %s", got, s.Logs)
			}
			s.Request(t, "GET", "/socket/", "").Want(t, http.StatusOK, "chime: connect below this path, at websocket, sse or poll; the client is chime.js")
		})
	}
}

// holding is a wrapper that keeps all it is given until the handler has returned, as
// those do that compute a hash or a length, or replace the pages of errors.
type holding struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (h *holding) WriteHeader(status int)      { h.status = status }
func (h *holding) Write(p []byte) (int, error) { return h.body.Write(p) }
func (h *holding) Unwrap() http.ResponseWriter { return h.ResponseWriter }
func (h *holding) passOn() {
	if h.status != 0 {
		h.ResponseWriter.WriteHeader(h.status)
		h.status = 0
	}
	_, _ = h.body.WriteTo(h.ResponseWriter)
}

// flushedBuffer passes on what it has when it is flushed, or hijacked.
type flushedBuffer struct{ holding }

func (f *flushedBuffer) Flush() {
	f.passOn()
	f.ResponseWriter.(http.Flusher).Flush()
}

func (f *flushedBuffer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	f.passOn()
	return f.ResponseWriter.(http.Hijacker).Hijack()
}

// pretending has a Flush that does nothing.
type pretending struct{ holding }

func (*pretending) Flush() {}

// zipping compresses whatever the handler says, and flushes or not.
type zipping struct {
	http.ResponseWriter
	zip     *gzip.Writer
	flushes bool
}

func (z *zipping) WriteHeader(status int) {
	z.Header().Set("Content-Encoding", "gzip")
	z.ResponseWriter.WriteHeader(status)
}
func (z *zipping) Write(p []byte) (int, error) { return z.zip.Write(p) }
func (z *zipping) Unwrap() http.ResponseWriter { return z.ResponseWriter }
func (z *zipping) Flush() {
	if z.flushes {
		_ = z.zip.Flush()
	}
	z.ResponseWriter.(http.Flusher).Flush()
}

// wrapped is a middleware that wraps the ResponseWriter, and ends what holds.
func wrapped(wrap func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w = wrap(w)
			next.ServeHTTP(w, r)
			if h, ok := w.(interface{ passOn() }); ok {
				h.passOn()
			}
		})
	}
}

// TestWriterThatHoldsBackIsNamed: with an Unwrap it looks as if it could all that is
// needed, and nothing would come.
func TestWriterThatHoldsBackIsNamed(t *testing.T) {
	for _, c := range []struct {
		blames string
		wrap   func(http.ResponseWriter) http.ResponseWriter
	}{
		{"*mount_test.holding", func(w http.ResponseWriter) http.ResponseWriter { return &holding{ResponseWriter: w} }},
		{"*mount_test.pretending", func(w http.ResponseWriter) http.ResponseWriter { return &pretending{holding{ResponseWriter: w}} }},
		{"mount_test.unwrapping around *mount_test.holding", func(w http.ResponseWriter) http.ResponseWriter {
			return unwrapping{&holding{ResponseWriter: w}}
		}},
	} {
		t.Run(c.blames, func(t *testing.T) {
			s := behind(t, wrapped(c.wrap))
			const can = " can't pass on what it is given before its handler returns"
			stream := `{"reason":"event streams are not possible here: ` + c.blames + can + `"}`
			socket := `{"reason":"WebSockets are not possible here: ` + c.blames + can + `"}`
			for range 3 {
				s.Request(t, "GET", "/socket/sse?join=hall:1", "").Want(t, http.StatusInternalServerError, stream)
				s.Request(t, "GET", "/socket/sse", "", "Chime-Received: 0").Want(t, http.StatusInternalServerError, stream)
				s.Request(t, "GET", raw.PhoenixTarget, "", raw.UpgradeHeader...).Want(t, http.StatusInternalServerError, socket)
			}
			if got := strings.Count(s.Logs.String(), `"type":"`+c.blames+`"`); got != 2 {
				t.Errorf("%d lines of the log name the type, want 2: %s", got, s.Logs)
			}
		})
	}
	t.Run("on HTTP/2", func(t *testing.T) {
		s, live := raw.NewRouter(t)
		app := chi.NewRouter()
		app.Use(wrapped(func(w http.ResponseWriter) http.ResponseWriter { return &holding{ResponseWriter: w} }))
		app.Mount("/socket", live)
		server := httptest.NewUnstartedServer(app)
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		s.Host = server.Listener.Addr().String()
		ask(t, s, t.Context(), server.Client(), http.MethodGet, "/socket/sse", "", "Chime-Received: 0").Want(t, http.StatusInternalServerError,
			`{"reason":"event streams are not possible here: *mount_test.holding can't pass on what it is given before its handler returns"}`)
	})
}

// TestCompressorThatIgnoresIdentity: a stream works as long as it is flushed, and the
// log says what it costs; otherwise it ends at once, since its head is out.
func TestCompressorThatIgnoresIdentity(t *testing.T) {
	for flushes, says := range map[bool]string{
		true:  "event streams are encoded by a middleware",
		false: `"what":"event streams"`,
	} {
		s := behind(t, wrapped(func(w http.ResponseWriter) http.ResponseWriter {
			return &zipping{w, gzip.NewWriter(w), flushes}
		}))
		for range 2 {
			es := s.Bare(t, "join=hall:1", "Accept-Encoding: gzip")
			unzipped, err := gzip.NewReader(es.R)
			if !flushes {
				if _, err := io.Copy(io.Discard, es.R); err != nil {
					t.Errorf("got %v, want the end", err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			es.R = bufio.NewReader(unzipped)
			es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		}
		if got := strings.Count(s.Logs.String(), says); got != 1 || !strings.Contains(s.Logs.String(), `"type":"*mount_test.zipping"`) {
			t.Errorf("%d lines say %q, want 1: %s", got, says, s.Logs)
		}
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
