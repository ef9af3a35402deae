package hostile_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
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
	{"upgrade", "GET", raw.PhoenixTarget, raw.UpgradeHeader, 101},
	{"upgrade of the chime dialect", "GET", raw.ChimeTarget, append([]string{raw.ChimeProtocol}, raw.UpgradeHeader...), 101},
	{"stream", "GET", "/socket/sse", []string{"Chime-Received: 0"}, 200},
	{"stream without chime headers", "GET", "/socket/sse?join=hall:1", nil, 200},
	{"POST", "POST", "/socket/sse", []string{"Chime-Secret: unknown"}, 410},
	{"POST without a secret", "POST", "/socket/sse", nil, 400},
	{"wait", "POST", "/socket/wait", nil, 400},
	{"poll", "GET", "/socket/poll", []string{"Chime-Received: 0"}, 200},
	{"POST of a poll", "POST", "/socket/poll", []string{"Chime-Secret: unknown"}, 410},
	{"bye", "POST", "/socket/bye", []string{"Content-Type: text/plain"}, 204},
	{"preflight of the stream", "OPTIONS", "/socket/sse", []string{"Access-Control-Request-Method: POST"}, 204},
	{"preflight of the poll", "OPTIONS", "/socket/poll", []string{"Access-Control-Request-Method: POST"}, 204},
	{"preflight of bye", "OPTIONS", "/socket/bye", []string{"Access-Control-Request-Method: POST"}, 204},
	{"preflight of the WebSocket", "OPTIONS", "/socket/websocket", nil, 204},
}

func TestOriginIsCheckedOnEveryHalf(t *testing.T) {
	s := raw.NewSite(t, chime.WithOrigins("https://app.example.com", "other.example.com:8443"))
	t.Cleanup(s.EndSoon)
	w := s.Witness(t)
	own := "http://" + s.Host
	for _, c := range []struct {
		name    string
		allowed bool
		origin  string // "" sends none
		site    string // Sec-Fetch-Site; "" sends none
	}{
		{"no browser", true, "", ""},
		{"its own", true, own, ""},
		{"its own over TLS", true, "https://" + s.Host, ""},
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
		{"its own as the user", false, "http://" + s.Host + "@evil.example", ""},
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
				conn := s.Connect(t)
				res := s.RequestOn(t, conn, half.method, half.target, "", header...)
				if !c.allowed {
					if res.StatusCode != http.StatusForbidden {
						t.Errorf("%s: got %d, want 403", half.name, res.StatusCode)
					} else if text, _ := io.ReadAll(res.Body); string(text) != `{"reason":"origin not allowed"}`+"\n" {
						t.Errorf("%s: got %s, want a reason", half.name, raw.Clip(string(text)))
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
			w.IsWell()
		})
	}
}

func TestARefusedOriginIsNamedOnceWithWhatWouldAllowIt(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		refused := func(host, origin string) {
			t.Helper()
			res := s.Request(t, http.MethodGet, "/socket/sse?join=hall:1", "", "Origin: "+origin, "Host: "+host)
			res.Want(t, http.StatusForbidden, `{"reason":"origin not allowed"}`)
		}
		for range 20 {
			refused("chat.example.com", "https://evil.example")
		}
		const want = `"level":"WARN","msg":"origin refused","host":"chat.example.com","origin":"https://evil.example",` +
			`"allow_with":"WithOrigins(\"https://evil.example\")","or_if_a_proxy_changed_the_host":"proxy_set_header Host $http_host;"}`
		if got := s.Logs.String(); strings.Count(got, want) != 1 || strings.Count(got, "origin refused") != 1 {
			t.Errorf("logged %s, want %s once", got, want)
		}
		refused("other.example.com", "https://evil.example")
		refused("chat.example.com", "null")
		if got := strings.Count(s.Logs.String(), "origin refused"); got != 3 {
			t.Errorf("got %d lines, want one for each host and origin", got)
		}
		for n := range 300 { // anybody can name as many as they like
			refused("chat.example.com", fmt.Sprintf("https://%d.example", n))
		}
		if got := strings.Count(s.Logs.String(), "origin refused"); got != 10 {
			t.Errorf("got %d lines, want 10 in ten seconds", got)
		}
		time.Sleep(10 * time.Second)
		refused("chat.example.com", "https://last.example")
		if got := s.Logs.String(); !strings.Contains(got, `"repeated":`) {
			t.Errorf("logged %s, want how many were left out", got)
		}
		if got := refusals(s.Live, "origin"); got != 323 {
			t.Errorf("got %d refused by origin, want 323", got)
		}
	})
}

func TestStreamIsNotForNavigationsAndImages(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for _, mode := range []string{"navigate", "no-cors"} {
		res := s.Request(t, http.MethodGet, "/socket/sse?join=hall:1", "", "Sec-Fetch-Mode: "+mode, "Sec-Fetch-Site: same-origin")
		res.Want(t, http.StatusForbidden, `{"reason":"this is an event stream: read it with fetch or EventSource"}`)
	}
	w.IsWell()
}

func TestRefusedConnectSaysWhy(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
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
		s.Request(t, "GET", raw.PhoenixTarget, "", append([]string{bearer}, raw.UpgradeHeader...)...).Want(t, want.status, want.body)
		s.Request(t, "GET", "/socket/sse?join=hall:1", "", bearer).Want(t, want.status, want.body)
		s.Request(t, "GET", "/socket/sse", "", bearer, "Chime-Received: 0").Want(t, want.status, want.body)
		w.IsWell()
	}
}

// A failure of WithConnect is no verdict: whoever gets it comes back.
func TestFailedConnectAsksTheClientToComeBack(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for _, token := range []string{"database down", "nil"} {
		bearer := "Authorization: Bearer " + token
		for _, res := range []*raw.Answer{
			s.Request(t, "GET", raw.PhoenixTarget, "", append([]string{bearer}, raw.UpgradeHeader...)...),
			s.Request(t, "GET", "/socket/sse", "", bearer, "Chime-Received: 0"),
		} {
			res.Want(t, http.StatusServiceUnavailable, `{"reason":"unavailable"}`)
			if got := res.Header.Get("Retry-After"); got != "2" {
				t.Errorf("Retry-After: got %q, want 2", got)
			}
		}
		// A native EventSource would give up on anything but 200.
		s.Stream(t, "/socket/sse?join=hall:1", bearer).WantLater()
		w.IsWell()
	}
}
