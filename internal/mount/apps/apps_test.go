// Package apps has a Router behind middleware of other modules, as apps have it. It is
// a module of its own, so that nobody who imports chime has to know of those.
package apps_test

import (
	"encoding/base64"
	"log"
	"net/http"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/cors"
	"github.com/go-chi/httprate"
	"github.com/go-chi/jwtauth/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

type handlers = []func(http.Handler) http.Handler

const page = "https://app.example.com"

func pageOnly() func(http.Handler) http.Handler {
	return cors.Handler(cors.Options{
		AllowedOrigins:   []string{page},
		AllowedHeaders:   []string{"Authorization", "Content-Type", "Chime-Secret", "Chime-Received"},
		AllowCredentials: true,
	})
}

var key = jwtauth.New("HS256", []byte("a key of the app"), nil)

// fromAnywhere finds a token where a browser's WebSocket puts it, too.
func fromAnywhere() handlers {
	return handlers{jwtauth.Verify(key, chime.Token, jwtauth.TokenFromCookie), jwtauth.Authenticator(key)}
}

func tokenOf(t *testing.T, user string) string {
	t.Helper()
	_, token, err := key.Encode(map[string]any{"sub": user, "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// bySubject takes the user whom jwtauth has found in the token.
func bySubject(r *http.Request) (chime.Identity, error) {
	_, claims, err := jwtauth.FromContext(r.Context())
	if err != nil {
		return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "sign in first")
	}
	user, _ := claims["sub"].(string)
	return chime.Identity{ID: user}, nil
}

func TestServed(t *testing.T) {
	sessions := scs.New()
	fromPage := []chime.Option{chime.WithOrigins(page)}
	byToken := []chime.Option{chime.WithConnect(bySubject), chime.WithOrigins(page)}
	bearer := "Authorization: Bearer " + tokenOf(t, "ann")
	logger := middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(&raw.LogBook{}, "", 0), NoColor: true})
	for name, c := range map[string]struct {
		options []chime.Option
		use     handlers
		header  []string
	}{
		"cors":                {fromPage, handlers{pageOnly()}, []string{"Origin: " + page}},
		"httprate":            {nil, handlers{httprate.LimitByIP(1000, time.Minute)}, nil},
		"httprate, by RealIP": {nil, handlers{middleware.RealIP, httprate.LimitByRealIP(1000, time.Minute)}, []string{"X-Real-IP: 192.0.2.7"}},
		"jwtauth":             {byToken, fromAnywhere(), []string{bearer}},
		"scs":                 {nil, handlers{sessions.LoadAndSave}, nil},
		"all": {byToken, append(handlers{
			middleware.RequestID, middleware.RealIP, logger, middleware.Recoverer, middleware.Timeout(time.Minute), middleware.Throttle(100),
			middleware.Compress(5), middleware.AllowContentType("application/json", "text/plain"),
			pageOnly(), httprate.LimitByIP(1000, time.Minute), sessions.LoadAndSave,
		}, fromAnywhere()...), []string{"Origin: " + page, bearer}},
	} {
		t.Run(name, func(t *testing.T) { raw.Behind(t, c.options, c.use...).WantServed(t, "/socket", c.header...) })
	}
}

// TestCORSOfTheAppAndOurs: each header is there once, and the app's own answers the
// preflights, so it has to allow our headers.
func TestCORSOfTheAppAndOurs(t *testing.T) {
	s := raw.Behind(t, []chime.Option{chime.WithOrigins(page)}, pageOnly())
	res := s.Request(t, http.MethodOptions, "/socket/sse", "", "Origin: "+page,
		"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: chime-secret,content-type")
	if got := res.Header.Get("Access-Control-Allow-Headers"); res.StatusCode != http.StatusOK || got == "" {
		t.Errorf("preflight: got %s and Access-Control-Allow-Headers %q", res.Status, got)
	}
	es := s.Bare(t, "join=hall:1", "Origin: "+page)
	for name, want := range map[string]string{"Access-Control-Allow-Origin": page, "Access-Control-Allow-Credentials": "true"} {
		if got := es.Head.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q once", name, got, want)
		}
	}
}

// TestALimitOfRequestsLeavesStreamsAlone: what is over it is a POST that is refused, and
// may be sent again.
func TestALimitOfRequestsLeavesStreamsAlone(t *testing.T) {
	s := raw.Behind(t, nil, httprate.LimitByIP(2, time.Hour))
	es, secret := s.Half(t)
	s.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`]}`).WantApplied(t, 1)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	res := s.Post(t, secret, `{"first":2,"frames":[["1",null,"hall:1","say",{"n":1}]]}`)
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %s and Retry-After %q, want 429 with one", res.Status, res.Header.Get("Retry-After"))
	}
	if err := s.Live.Broadcast(t.Context(), "hall:1", "tick", nil); err != nil {
		t.Fatal(err)
	}
	es.Want(`[null,null,"hall:1","tick",{}]`)
}

// TestWithoutATokenJWTAuthRefuses before a client socket is opened; the token of a
// browser's WebSocket is in its subprotocols.
func TestWithoutATokenJWTAuthRefuses(t *testing.T) {
	s := raw.Behind(t, []chime.Option{chime.WithConnect(bySubject)}, fromAnywhere()...)
	for _, target := range []string{"/socket/sse?join=hall:1", raw.PhoenixTarget} {
		if res := s.Request(t, http.MethodGet, target, "", raw.UpgradeHeader...); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %s, want 401", target, res.Status)
		}
	}
	ws, _ := s.Chime(t, "Sec-WebSocket-Protocol: "+"base64url.bearer.phx."+base64.RawURLEncoding.EncodeToString([]byte(tokenOf(t, "ann"))))
	ws.Join("hall:1", "ann")
	if got := s.Members(t, "hall:1"); len(got) != 1 || got[0].Identity.ID != "ann" {
		t.Errorf("got members %v, want ann", got)
	}
}

// TestASessionIsTheSameOnEveryRequest: scs saves when the head is written, which is
// before the connection is taken from net/http.
func TestASessionIsTheSameOnEveryRequest(t *testing.T) {
	sessions := scs.New()
	s := raw.Behind(t, []chime.Option{chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
		user := sessions.GetString(r.Context(), "user")
		if user == "" {
			user = "ann"
			sessions.Put(r.Context(), "user", user)
		} else {
			user += " again"
		}
		return chime.Identity{ID: user}, nil
	})}, sessions.LoadAndSave)
	es := s.Bare(t, "join=hall:1")
	cookie := es.Head.Header.Get("Set-Cookie")
	if cookie == "" {
		t.Fatalf("got no cookie with the stream: %v", es.Head.Header)
	}
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	s.Bare(t, "join=hall:1", "Cookie: "+cookie).Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	s.Phoenix(t, "Cookie: "+cookie).Join("hall:1", "x")
	count := map[string]int{}
	for _, m := range s.Members(t, "hall:1") {
		count[m.Identity.ID]++
	}
	if count["ann"] != 1 || count["ann again"] != 2 {
		t.Errorf("got %v, want one without a session, and two with it", count)
	}
}
