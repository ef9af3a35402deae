package raw

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
)

// Behind serves a router mounted at /socket behind middleware.
func Behind(t *testing.T, options []chime.Option, use ...func(http.Handler) http.Handler) *Site {
	t.Helper()
	s, live := NewRouter(t, options...)
	app := chi.NewRouter()
	app.Use(use...)
	app.Mount("/socket", live)
	s.Serve(t, app)
	return s
}

// WantServed uses everything that is below a mount, as from a page of the same origin.
func (s *Site) WantServed(t *testing.T, mount string, header ...string) {
	t.Helper()
	w := s.Watch(t, mount, header...)
	res := s.Request(t, http.MethodGet, mount+"/", "", header...)
	res.Want(t, http.StatusOK, "chime: connect below this path, at websocket, sse or poll; the client is chime.js")
	res = s.Request(t, http.MethodGet, mount+"/chime.js", "", header...)
	if text, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || err != nil || !strings.Contains(string(text), "export") {
		t.Errorf("chime.js: got %s and %v", res.Status, err)
	}
	for _, elsewhere := range []string{"/elsewhere", "/any/thing/sse", "/any/websocket", "/socket/sse", "/socket/chime.js", mount + mount + "/sse/chime.js"} {
		if res = s.Request(t, http.MethodGet, mount+elsewhere, "", header...); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %s, want 404", elsewhere, res.Status)
		}
	}
	es := s.Stream(t, mount+"/sse", append(header, "Chime-Received: 0")...).Opened()
	secret := SecretIn(t, es.Next().Data)
	post := func(frames string) *Answer {
		return s.Request(t, http.MethodPost, mount+"/sse", `{"first":1,"frames":[`+frames+`]}`, append(header, "Chime-Secret: "+secret, "Content-Type: application/json")...)
	}
	post(`["1","1","hall:1","phx_join",{"as":"guest"}],["1",null,"hall:1","say",{"n":0}]`).WantApplied(t, 2)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `[null,null,"hall:1","say",{"n":0}]`)
	w.Hears(`[null,null,"hall:1","say",{"n":0}]`)
	s.Request(t, http.MethodPost, mount+"/bye", secret, append(header, "Content-Type: text/plain")...).Want(t, http.StatusNoContent, "")
	es.WantClosed(1000, "bye")
	s.Hall.WantLeft(t, "hall:1", "guest", "closed")
	p := s.PollAt(t, mount+"/poll", header...)
	p.Post(`{"first":1,"frames":[`+JoinHall+`]}`).WantApplied(t, 1)
	p.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	s.Request(t, http.MethodPost, mount+"/bye", p.Secret, append(header, "Content-Type: text/plain")...).Want(t, http.StatusNoContent, "")
	p.WantUnknown()
	s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
	w.IsWell()
}
