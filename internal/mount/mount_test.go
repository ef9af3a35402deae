package mount_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// Where a Router may be mounted, and what may stand in front of it.

func TestMountedInChi(t *testing.T) {
	for name, mount := range map[string]func(chi.Router, *chime.Router){
		"/socket": func(app chi.Router, live *chime.Router) { app.Mount("/socket", live) },
		"/":       func(app chi.Router, live *chime.Router) { app.Mount("/", live) },
		"/api/v1/acme/socket": func(app chi.Router, live *chime.Router) {
			app.Route("/api/{version}", func(r chi.Router) {
				r.Route("/{tenant}", func(r chi.Router) { r.Mount("/socket", live) })
			})
		},
		"/with": func(app chi.Router, live *chime.Router) {
			app.With(middleware.RequestID, middleware.Recoverer).Mount("/with", live)
		},
		"/group/socket": func(app chi.Router, live *chime.Router) {
			app.Group(func(r chi.Router) {
				r.Use(middleware.NoCache)
				r.Mount("/group/socket", live)
			})
		},
		"/slash":          func(app chi.Router, live *chime.Router) { app.Mount("/slash/", live) },
		"/handled/socket": func(app chi.Router, live *chime.Router) { app.Handle("/handled/socket/*", live) },
		"/t/acme/handled": func(app chi.Router, live *chime.Router) {
			app.Route("/t/{tenant}", func(r chi.Router) { r.Handle("/handled/*", live) })
		},
		"/stripped/socket": func(app chi.Router, live *chime.Router) {
			app.Handle("/stripped/socket/*", http.StripPrefix("/stripped/socket", live))
		},
		"/mounted/stripped": func(app chi.Router, live *chime.Router) {
			app.Mount("/mounted/stripped", http.StripPrefix("/mounted/stripped/", live))
		},
		"/a/b/c": func(app chi.Router, live *chime.Router) {
			outer, inner := chi.NewRouter(), chi.NewRouter()
			inner.With(middleware.RequestID).Mount("/c", live)
			outer.Mount("/b", inner)
			app.Mount("/a", outer)
		},
		"/mux/socket": func(app chi.Router, live *chime.Router) { // the app is moved to chi, one part after the other
			mux := http.NewServeMux()
			mux.Handle("/mux/socket/", live)
			app.Mount("/mux", mux)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, live := raw.NewRouter(t)
			app := chi.NewRouter()
			mount(app, live)
			s.Serve(t, app)
			s.WantServed(t, strings.TrimSuffix(name, "/"))
		})
	}
}

func TestMountedWithoutChi(t *testing.T) {
	for name, mount := range map[string]func(*chime.Router) http.Handler{
		"":        func(live *chime.Router) http.Handler { return live },
		"/socket": func(live *chime.Router) http.Handler { return http.StripPrefix("/socket", live) },
		"/a/b/c": func(live *chime.Router) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/a/b/c/", live)
			return mux
		},
		"/t/acme/socket": func(live *chime.Router) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/t/{tenant}/socket/", live)
			return mux
		},
		"/rest/socket": func(live *chime.Router) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/rest/socket/{rest...}", live)
			return mux
		},
		"/chi/socket": func(live *chime.Router) http.Handler {
			app, mux := chi.NewRouter(), http.NewServeMux()
			app.Mount("/socket", live)
			mux.Handle("/chi/", http.StripPrefix("/chi", app))
			return mux
		},
		"/outer/mux/socket": func(live *chime.Router) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/mux/socket/", live)
			return http.StripPrefix("/outer", mux)
		},
		"/slash": func(live *chime.Router) http.Handler { return http.StripPrefix("/slash/", live) },
		"/stripped/socket": func(live *chime.Router) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/stripped/socket/", http.StripPrefix("/stripped/socket", live))
			return mux
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, live := raw.NewRouter(t)
			s.Serve(t, mount(live))
			s.WantServed(t, name)
		})
	}
}

// TestRoutedByName: an app that routes an endpoint itself is served that one, and a
// pattern without a wildcard that names none is the mount.
func TestRoutedByName(t *testing.T) {
	s, live := raw.NewRouter(t)
	app, mux := chi.NewRouter(), http.NewServeMux()
	app.Get("/named/chime.js", live.ServeHTTP)
	app.Handle("/named/{tenant}/live", live)
	app.Route("/named/inner", func(r chi.Router) { r.Handle("/chime.js", live) })
	mux.Handle("GET /muxed/chime.js", live)
	mux.Handle("/muxed/live/{$}", live)
	mux.Handle("/", app)
	s.Serve(t, mux)
	for target, mediaType := range map[string]string{
		"/named/chime.js":       "text/javascript; charset=utf-8",
		"/named/inner/chime.js": "text/javascript; charset=utf-8",
		"/named/acme/live":      "text/plain; charset=utf-8",
		"/muxed/chime.js":       "text/javascript; charset=utf-8",
		"/muxed/live/":          "text/plain; charset=utf-8",
	} {
		res := s.Request(t, http.MethodGet, target, "")
		if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != mediaType {
			t.Errorf("%s: got %s and %s, want 200 and %s", target, res.Status, got, mediaType)
		}
	}
}

// TestTwoMounts: each has the clients of its own Router, and a Router that is mounted
// twice has those of both.
func TestTwoMounts(t *testing.T) {
	one, live := raw.NewRouter(t)
	two, other := raw.NewRouter(t)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	app.Mount("/other", other)
	app.Route("/t/{tenant}", func(r chi.Router) { r.With(middleware.RequestID).Mount("/socket", live) })
	one.Serve(t, app)
	two.Host, two.Dial = one.Host, one.Dial
	t.Cleanup(func() { two.Shutdown(t) })
	for _, c := range []struct {
		site  *raw.Site
		mount string
	}{{one, "/socket"}, {one, "/t/acme/socket"}, {two, "/other"}} {
		c.site.WantServed(t, c.mount)
	}
	es := one.Stream(t, "/t/acme/socket/sse", "Chime-Received: 0").Opened()
	secret := raw.SecretIn(t, es.Next().Data)
	one.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`]}`).WantApplied(t, 1) // at the other mount of its Router
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	if got := one.Request(t, http.MethodPost, "/other/sse", `{"first":2,"frames":[]}`, "Chime-Secret: "+secret).StatusCode; got != http.StatusGone {
		t.Errorf("at another Router: got %d, want 410", got)
	}
}

// paramChannel tells what chi knew of the request that opened the socket.
type paramChannel struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (paramChannel) HandleMessage(ctx context.Context, _ *channel.Socket, _ channel.Message) (any, error) {
	return map[string]string{"tenant": chi.URLParamFromCtx(ctx, "tenant"), "id": middleware.GetReqID(ctx)}, nil
}

// TestPathParametersAreThoseOfTheSocketsOwnRequest: chi uses its context again
// for other requests once a handler has returned.
func TestPathParametersAreThoseOfTheSocketsOwnRequest(t *testing.T) {
	s, live := raw.NewRouter(t)
	live.Channel("params", paramChannel{})
	app := chi.NewRouter()
	app.Use(middleware.RequestID)
	app.Route("/{tenant}", func(r chi.Router) {
		r.Mount("/socket", live)
		r.Get("/page/{page}", func(http.ResponseWriter, *http.Request) {})
	})
	s.Serve(t, app)
	ws := s.Upgrade(t, "/acme"+raw.PhoenixTarget, "X-Request-Id: first").Opened().Join("params", "")
	for range 20 {
		_ = s.Request(t, http.MethodGet, "/evil/page/7", "", "X-Request-Id: second")
	}
	ws.Text(`["1","2","params","where",{}]`)
	ws.Want(`["1","2","params","phx_reply",{"status":"ok","response":{"id":"first","tenant":"acme"}}]`)
}

func TestRouterDescribesItsEndpointsToChi(t *testing.T) {
	_, live := raw.NewRouter(t)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	got := map[string]bool{}
	err := chi.Walk(app, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		got[method+" "+route] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GET /socket/websocket", "GET /socket/sse", "POST /socket/sse", "POST /socket/bye", "GET /socket/chime.js", "GET /socket/chime.d.ts", "GET /socket/phoenix-stream.js", "GET /socket/phoenix-stream.d.ts"} {
		if !got[want] {
			t.Errorf("Walk: %s is missing in %v", want, got)
		}
	}
	if !live.Match(chi.NewRouteContext(), "GET", "/sse") || live.Match(chi.NewRouteContext(), "GET", "/elsewhere") {
		t.Error("Match: got the wrong answer for /sse or /elsewhere")
	}
	if got := live.Find(chi.NewRouteContext(), "POST", "/bye"); got != "/bye" {
		t.Errorf("Find: got %q, want /bye", got)
	}
	if live.Middlewares() != nil {
		t.Error("Middlewares: got some, want none")
	}
}
