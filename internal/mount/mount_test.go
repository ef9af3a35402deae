package mount_test

import (
	"context"
	"io"
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

// wantServed uses everything that is below a mount.
func wantServed(t *testing.T, s *raw.Site, mount string) {
	t.Helper()
	w := s.Watch(t, mount)
	res := s.Request(t, http.MethodGet, mount+"/", "")
	res.Want(t, http.StatusOK, "chime: connect below this path, at websocket or sse; the client is chime.js")
	res = s.Request(t, http.MethodGet, mount+"/chime.js", "")
	if text, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || err != nil || !strings.Contains(string(text), "export") {
		t.Errorf("chime.js: got %s and %v", res.Status, err)
	}
	res = s.Request(t, http.MethodGet, mount+"/elsewhere", "")
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("elsewhere: got %s, want 404", res.Status)
	}
	es := s.Stream(t, mount+"/sse", "Chime-Received: 0").Opened()
	secret := raw.SecretIn(t, es.Next().Data)
	post := func(frames string) *raw.Answer {
		return s.Request(t, http.MethodPost, mount+"/sse", `{"first":1,"frames":[`+frames+`]}`, "Chime-Secret: "+secret)
	}
	post(`["1","1","hall:1","phx_join",{"as":"guest"}],["1",null,"hall:1","say",{"n":0}]`).WantApplied(t, 2)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `[null,null,"hall:1","say",{"n":0}]`)
	w.Hears(`[null,null,"hall:1","say",{"n":0}]`)
	s.Request(t, http.MethodPost, mount+"/bye", secret).Want(t, http.StatusNoContent, "")
	es.WantClosed(1000, "bye")
	s.Hall.WantLeft(t, "hall:1", "guest", "closed")
	w.IsWell()
}

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
		"/handled/socket": func(app chi.Router, live *chime.Router) { app.Handle("/handled/socket/*", live) },
	} {
		t.Run(name, func(t *testing.T) {
			s, live := raw.NewRouter(t)
			app := chi.NewRouter()
			mount(app, live)
			s.Serve(t, app)
			wantServed(t, s, strings.TrimSuffix(name, "/"))
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
		"/stripped/socket": func(live *chime.Router) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/stripped/socket/", http.StripPrefix("/stripped/socket", live))
			return mux
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, live := raw.NewRouter(t)
			s.Serve(t, mount(live))
			wantServed(t, s, name)
		})
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
