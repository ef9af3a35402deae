package mount_test

import (
	"bufio"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/raw"
)

// What is below a mount, asked for in every way.

func TestEveryMethodOfEveryEndpointHasAClearAnswer(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	const (
		read  = "GET, HEAD, OPTIONS"
		both  = "GET, HEAD, POST, OPTIONS"
		write = "POST, OPTIONS"
	)
	for _, e := range []struct {
		target, allow   string
		get, head, post int
	}{
		{"/socket", read, 200, 200, 405},
		{"/socket/", read, 200, 200, 405},
		{"/socket/websocket", read, 400, 400, 405},
		{"/socket/sse", both, 400, 200, 400},
		{"/socket/poll", both, 400, 200, 400},
		{"/socket/wait", write, 405, 405, 400},
		{"/socket/bye", write, 405, 405, 204},
		{"/socket/chime.js", read, 200, 200, 405},
		{"/socket/chime.d.ts", read, 200, 200, 405},
		{"/socket/phoenix-stream.js", read, 200, 200, 405},
		{"/socket/phoenix-stream.d.ts", read, 200, 200, 405},
		{"/socket/chime.js/", "", 404, 404, 404}, // neither that file nor the mount
		{"/socket/sse/", "", 404, 404, 404},
		{"/socket/secrets", "", 404, 404, 404},
		{"/socket/..%2f..%2fetc%2fpasswd", "", 404, 404, 404},
		{"/socket/WEBSOCKET", "", 404, 404, 404},
		{"/socket/chime.js%00", "", 404, 404, 404},
	} {
		t.Run(e.target, func(t *testing.T) {
			for method, status := range map[string]int{
				"GET": e.get, "HEAD": e.head, "POST": e.post,
				"PUT": 405, "DELETE": 405, "PATCH": 405, "OPTIONS": 204,
			} {
				if e.allow == "" {
					status = http.StatusNotFound
				}
				res := s.Request(t, method, e.target, "")
				text, err := io.ReadAll(res.Body)
				if res.StatusCode != status || err != nil {
					t.Errorf("%s: got %s and %v, want %d", method, res.Status, err, status)
				}
				if method == "HEAD" && len(text) != 0 {
					t.Errorf("HEAD: got a body: %s", raw.Clip(string(text)))
				}
				if got := res.Header.Get("Allow"); (status == 405 || method == "OPTIONS" && e.allow != "") && got != e.allow {
					t.Errorf("%s: Allow is %q, want %q", method, got, e.allow)
				}
				if status >= 400 && method != "HEAD" && len(text) == 0 {
					t.Errorf("%s: got %d without a word", method, status)
				}
				if status != 204 && res.Header.Get("X-Content-Type-Options") != "nosniff" && method != "HEAD" {
					t.Errorf("%s: got %d without nosniff", method, status)
				}
			}
			w.IsWell()
		})
	}
}

func TestPlainRequestIsToldWhatToDo(t *testing.T) {
	s := raw.NewSite(t)
	const nothing = `{"reason":"join: none: want ?join=<topic>, or the header Chime-Received: 0 to open a client socket"}`
	for target, want := range map[string]string{
		"/socket/websocket":                `{"reason":"this is a WebSocket endpoint: upgrade the request, or use the event stream at sse"}`,
		"/socket/sse":                      nothing,
		"/socket/sse?join=":                `{"reason":"join: \"\": want a topic"}`,
		"/socket/sse?join=a&join=a":        `{"reason":"join: \"a\" twice: want each topic once"}`,
		"/socket/sse?join=a&last=x":        `{"reason":"last: \"x\": want a number from 0"}`,
		"/socket/sse?join=a&last=-1":       `{"reason":"last: \"-1\": want a number from 0"}`,
		"/socket/sse?join=%zz":             `{"reason":"query: malformed: want key=value pairs with & between them, percent-encoded"}`,
		"/socket/sse?join=a;b":             `{"reason":"query: malformed: want key=value pairs with & between them, percent-encoded"}`,
		"/socket/sse?" + many("join=", 17): `{"reason":"join: 17 topics: want at most 16"}`,
	} {
		s.Request(t, http.MethodGet, target, "").Want(t, http.StatusBadRequest, want)
	}
}

// many is a query of n different values.
func many(key string, n int) string {
	var list []string
	for i := range n {
		list = append(list, key+string(rune('a'+i)))
	}
	return strings.Join(list, "&")
}

func TestHeaderOf1MBIsRefused(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	huge := strings.Repeat("x", 2<<20)
	for name, header := range map[string]string{
		"a header":      "X-Huge: " + huge,
		"a cookie":      "Cookie: a=" + huge,
		"a subprotocol": "Sec-WebSocket-Protocol: chime.secret." + huge,
	} {
		t.Run(name, func(t *testing.T) {
			ws := s.Upgrade(t, raw.PhoenixTarget, header)
			if ws.Head.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("got %s, want 431", ws.Head.Status)
			}
			w.IsWell()
		})
	}
}

func TestStreamOnHTTP10HasNoChunkSizes(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for name, header := range map[string]string{"": "", " that asks for keep-alive": "Connection: keep-alive\r\n"} {
		t.Run("a client"+name, func(t *testing.T) {
			conn := s.Connect(t)
			if _, err := io.WriteString(conn, "GET /socket/sse?join=hall:1 HTTP/1.0\r\n"+header+"\r\n"); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(conn)
			status, _ := r.ReadString('\n')
			if !strings.HasPrefix(status, "HTTP/1.0 200 ") && !strings.HasPrefix(status, "HTTP/1.1 200 ") {
				t.Fatalf("got %q, want 200", status)
			}
			for line := ""; line != "\r\n"; {
				var err error
				if line, err = r.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(line, "Transfer-Encoding") || strings.HasPrefix(line, "Connection: keep-alive") {
					t.Errorf("got %q, which HTTP/1.0 does not have here", line)
				}
			}
			if got, _ := r.Peek(len(": chime\n\n")); string(got) != ": chime\n\n" {
				t.Errorf("the stream begins with %q, want its first comment", got)
			}
			es := &raw.Stream{T: t, Conn: conn, R: r}
			es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
			w.IsWell()
			es.Want(raw.Tick(w.N))
		})
	}
	s.Shutdown(t)
}

func TestScriptIsSentOnceAndNeverSniffed(t *testing.T) {
	s := raw.NewSite(t)
	for target, mediaType := range map[string]string{
		"/socket/chime.js":            "text/javascript; charset=utf-8",
		"/socket/chime.d.ts":          "text/plain; charset=utf-8",
		"/socket/phoenix-stream.js":   "text/javascript; charset=utf-8",
		"/socket/phoenix-stream.d.ts": "text/plain; charset=utf-8",
	} {
		t.Run(target, func(t *testing.T) {
			res := s.Request(t, http.MethodGet, target, "")
			text, err := io.ReadAll(res.Body)
			if err != nil || len(text) < 1000 {
				t.Fatalf("got %d bytes and %v, want the file", len(text), err)
			}
			etag := res.Header.Get("ETag")
			for name, want := range map[string]string{
				"Content-Type":                mediaType,
				"X-Content-Type-Options":      "nosniff",
				"Cache-Control":               "no-cache",
				"Access-Control-Allow-Origin": "*",
			} {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if len(etag) < 10 || etag[0] != '"' {
				t.Fatalf("ETag: got %q, want a strong one", etag)
			}
			s.Request(t, http.MethodGet, target, "", "If-None-Match: "+etag).Want(t, http.StatusNotModified, "")
			s.Request(t, http.MethodGet, target, "", `If-None-Match: "x", `+etag).Want(t, http.StatusNotModified, "")
			res = s.Request(t, http.MethodGet, target, "", `If-None-Match: "other"`)
			if again, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || string(again) != string(text) {
				t.Errorf("with another ETag: got %s and %d bytes", res.Status, len(again))
			}
			res = s.Request(t, http.MethodHead, target, "")
			if res.StatusCode != http.StatusOK || res.Length != int64(len(text)) || res.Header.Get("ETag") != etag {
				t.Errorf("HEAD: got %s, %d bytes, ETag %s", res.Status, res.Length, res.Header.Get("ETag"))
			}
		})
	}
}

// TestAfterShutdownClientsAreAskedToComeBack: EventSource gives up for ever on
// anything but 200, so that is what it gets.
func TestAfterShutdownClientsAreAskedToComeBack(t *testing.T) {
	s := raw.NewSite(t)
	s.Shutdown(t)
	const busy = `{"reason":"shutting down"}`
	for name, res := range map[string]*raw.Answer{
		"phoenix": s.Request(t, "GET", raw.PhoenixTarget, "", raw.UpgradeHeader...),
		"chime":   s.Request(t, "GET", raw.ChimeTarget, "", append(raw.UpgradeHeader[:4:4], raw.ChimeProtocol)...),
		"stream":  s.Request(t, "GET", "/socket/sse", "", "Chime-Received: 0"),
		"post":    s.Post(t, "a-secret", `{"first":1,"frames":[]}`),
		"poll":    s.Request(t, "GET", "/socket/poll", "", "Chime-Received: 0"),
		"polling": s.Request(t, "GET", "/socket/poll", "", "Chime-Received: 0", "Chime-Secret: a-secret"),
	} {
		if got, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || got < 2 || got > 6 {
			t.Errorf("%s: Retry-After is %d, want 2 to 6", name, got)
		}
		res.Want(t, http.StatusServiceUnavailable, busy)
	}
	s.Bare(t, "join=hall:1").WantLater()
	s.Request(t, "POST", "/socket/bye", "a-secret").Want(t, http.StatusNoContent, "")
}
