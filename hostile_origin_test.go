package chime_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime"
)

// Cookies travel with whatever any page asks for, so a page of a foreign
// origin is refused on every half of a transport.

// halves are the requests that a page can send. Each says whether it was let
// in, judging by its status.
var halves = []struct {
	name, method, target string
	header               []string
	allowed              int
}{
	{"upgrade", "GET", phoenixTarget, upgradeHeader, 101},
	{"upgrade of the chime dialect", "GET", chimeTarget, append([]string{chimeProtocol}, upgradeHeader...), 101},
	{"stream", "GET", "/socket/sse", []string{"Chime-Received: 0"}, 200},
	{"stream without chime headers", "GET", "/socket/sse?join=hall:1", nil, 200},
	{"POST", "POST", "/socket/sse", []string{"Chime-Secret: unknown"}, 410},
	{"POST without a secret", "POST", "/socket/sse", nil, 400},
	{"bye", "POST", "/socket/bye", []string{"Content-Type: text/plain"}, 204},
	{"preflight of the stream", "OPTIONS", "/socket/sse", []string{"Access-Control-Request-Method: POST"}, 204},
	{"preflight of bye", "OPTIONS", "/socket/bye", []string{"Access-Control-Request-Method: POST"}, 204},
	{"preflight of the WebSocket", "OPTIONS", "/socket/websocket", nil, 204},
}

func TestOriginIsCheckedOnEveryHalf(t *testing.T) {
	s := newSite(t, chime.WithOrigins("https://app.example.com", "other.example.com:8443"))
	w := s.witness(t)
	own := "http://" + s.host
	for _, c := range []struct {
		name    string
		allowed bool
		origin  string // "" sends none
		site    string // Sec-Fetch-Site; "" sends none
	}{
		{"no browser", true, "", ""},
		{"its own", true, own, ""},
		{"its own over TLS", true, "https://" + s.host, ""},
		{"its own, says the browser", true, own, "same-origin"},
		{"typed by the user", true, "", "none"},
		{"named", true, "https://app.example.com", ""},
		{"named, says the browser", true, "https://app.example.com", "cross-site"},
		{"named, of the same site", true, "https://app.example.com", "same-site"},
		{"named in capitals", true, "HTTPS://APP.example.com", ""},
		{"named without a scheme", true, "http://other.example.com:8443", "cross-site"},
		{"foreign", false, "https://evil.example", ""},
		{"foreign, says the browser", false, "https://evil.example", "cross-site"},
		{"of the same site but not named", false, "https://user-pages.example.com", "same-site"},
		{"null", false, "null", ""},
		{"null, says the browser", false, "null", "cross-site"},
		{"cross-site without an origin", false, "", "cross-site"},
		{"same-site without an origin", false, "", "same-site"},
		{"its own name, but cross-site says the browser", false, own, "cross-site"},
		{"another port", false, "http://127.0.0.1:1", ""},
		{"named, but of another scheme", false, "http://app.example.com", ""},
		{"named, but of another port", false, "https://app.example.com:444", ""},
		{"named, but of another port still", false, "https://other.example.com", ""},
		{"its own as a subdomain", false, own + ".evil.example", ""},
		{"a named one as a subdomain", false, "https://app.example.com.evil.example", ""},
		{"a subdomain of a named one", false, "https://x.app.example.com", ""},
		{"a named one as the user", false, "https://app.example.com@evil.example", ""},
		{"its own as the user", false, "http://" + s.host + "@evil.example", ""},
		{"a named one in the path", false, "https://evil.example/app.example.com", ""},
		{"a file", false, "file://", ""},
		{"an extension", false, "chrome-extension://abcdef", ""},
		{"rubbish", false, "://%zz", ""},
		{"two", false, "https://evil.example https://app.example.com", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, half := range halves {
				header := half.header
				if c.origin != "" {
					header = append(slices.Clip(header), "Origin: "+c.origin)
				}
				if c.site != "" {
					header = append(slices.Clip(header), "Sec-Fetch-Site: "+c.site)
				}
				conn := s.connect(t)
				res := s.requestOn(t, conn, half.method, half.target, "", header...)
				if !c.allowed {
					if res.StatusCode != http.StatusForbidden {
						t.Errorf("%s: got %d, want 403", half.name, res.StatusCode)
					} else if text, _ := io.ReadAll(res.Body); string(text) != `{"reason":"origin not allowed"}`+"\n" {
						t.Errorf("%s: got %s, want a reason", half.name, clip(string(text)))
					}
					if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
						t.Errorf("%s: a refusal has Access-Control-Allow-Origin %q", half.name, got)
					}
				} else {
					if res.StatusCode != half.allowed {
						t.Errorf("%s: got %d, want %d", half.name, res.StatusCode, half.allowed)
					}
					// The page must be able to read the answer, and nobody else's cache may serve it.
					h := res.Header
					if got := h.Get("Access-Control-Allow-Origin"); got != c.origin {
						t.Errorf("%s: Access-Control-Allow-Origin is %q, want %q", half.name, got, c.origin)
					}
					if c.origin != "" && (h.Get("Access-Control-Allow-Credentials") != "true" || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin")) {
						t.Errorf("%s: got %v, want credentials and Vary: Origin", half.name, h)
					}
				}
				_ = conn.Close()
			}
			w.isWell()
		})
	}
}

func TestRefusedOriginIsLoggedWithWhatWouldAllowIt(t *testing.T) {
	s := newSite(t)
	res := s.request(t, http.MethodGet, "/socket/sse?join=hall:1", "", "Origin: https://evil.example", "Host: chat.example.com")
	wantAnswer(t, res, http.StatusForbidden, `{"reason":"origin not allowed"}`)
	const want = `"level":"WARN","msg":"origin refused","host":"chat.example.com","origin":"https://evil.example","allow_with":"WithOrigins"}`
	if got := s.logs.String(); !strings.Contains(got, want) {
		t.Errorf("logged %s, want %s", got, want)
	}
}

func TestStreamIsNotForNavigationsAndImages(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	for _, mode := range []string{"navigate", "no-cors"} {
		res := s.request(t, http.MethodGet, "/socket/sse?join=hall:1", "", "Sec-Fetch-Mode: "+mode, "Sec-Fetch-Site: same-origin")
		wantAnswer(t, res, http.StatusForbidden, `{"reason":"this is an event stream: read it with fetch or EventSource"}`)
	}
	w.isWell()
}

func TestRefusedConnectSaysWhy(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	for token, want := range map[string]struct {
		status int
		body   string
	}{
		"banned": {http.StatusUnauthorized, `{"reason":"banned"}`},
		// What refuses nothing must not let anybody in, or take the answer away.
		"no status":   {http.StatusForbidden, `{"reason":"no"}`},
		"status 101":  {http.StatusForbidden, `{"reason":"no"}`},
		"status 200":  {http.StatusForbidden, `{"reason":"no"}`},
		"status 1000": {http.StatusForbidden, `{"reason":"no"}`},
	} {
		bearer := "Authorization: Bearer " + token
		wantAnswer(t, s.request(t, "GET", phoenixTarget, "", append([]string{bearer}, upgradeHeader...)...), want.status, want.body)
		wantAnswer(t, s.request(t, "GET", "/socket/sse?join=hall:1", "", bearer), want.status, want.body)
		wantAnswer(t, s.request(t, "GET", "/socket/sse", "", bearer, "Chime-Received: 0"), want.status, want.body)
		w.isWell()
	}
}

// A failure of WithConnect is no verdict: whoever gets it comes back.
func TestFailedConnectAsksTheClientToComeBack(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	for _, token := range []string{"database down", "nil"} {
		bearer := "Authorization: Bearer " + token
		for _, res := range []*answer{
			s.request(t, "GET", phoenixTarget, "", append([]string{bearer}, upgradeHeader...)...),
			s.request(t, "GET", "/socket/sse", "", bearer, "Chime-Received: 0"),
		} {
			wantAnswer(t, res, http.StatusServiceUnavailable, `{"reason":"unavailable"}`)
			if got := res.Header.Get("Retry-After"); got != "2" {
				t.Errorf("Retry-After: got %q, want 2", got)
			}
		}
		// A native EventSource would give up on anything but 200.
		wantAnswer(t, s.request(t, "GET", "/socket/sse?join=hall:1", "", bearer), http.StatusOK, "retry: 2000\n")
		w.isWell()
	}
}
