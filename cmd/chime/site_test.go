package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
)

func TestServesThePage(t *testing.T) {
	url := openSite(t)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(path, etag string) (status int, header http.Header) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", etag)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode, resp.Header
	}

	if status, header := get("/", ""); status != http.StatusFound || header.Get("Location") != "/rooms/lobby" {
		t.Errorf("/: got %d to %q, want 302 to /rooms/lobby", status, header.Get("Location"))
	}
	for path, kind := range map[string]string{
		"/rooms/lobby":            "text/html; charset=utf-8",
		"/rooms/caf%C3%A9%20%2F?": "text/html; charset=utf-8",
		"/page.css":               "text/css; charset=utf-8",
		"/page.js":                "text/javascript; charset=utf-8",
		"/log.js":                 "text/javascript; charset=utf-8",
		"/people.js":              "text/javascript; charset=utf-8",
		"/health.js":              "text/javascript; charset=utf-8",
		"/icon.svg":               "image/svg+xml",
	} {
		status, header := get(path, "")
		if status != http.StatusOK || header.Get("Content-Type") != kind {
			t.Errorf("%s: got %d %q, want 200 %q", path, status, header.Get("Content-Type"), kind)
		}
		policy := header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: got policy %q", path, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: got %s %q, want %q", path, name, got, want)
			}
		}
		if status, _ := get(path, header.Get("ETag")); status != http.StatusNotModified {
			t.Errorf("%s, asked again: got %d, want 304", path, status)
		}
	}
	for _, path := range []string{"/rooms/a%3Ab", "/rooms/a%00b", "/rooms/" + strings.Repeat("x", 101), "/rooms/", "/page/index.html", "/serve.go"} {
		if status, _ := get(path, ""); status != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, status)
		}
	}
	client.CloseIdleConnections()
}

// What the page asks for by itself must be there, and must be ours.
func TestThePageAsksForNothingElsewhere(t *testing.T) {
	url := openSite(t)
	for _, name := range []string{"index.html", "page.js", "log.js", "people.js", "health.js", "page.css"} {
		text, err := pageFiles.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if got := regexp.MustCompile(`(https?:)?//[a-z0-9-]+\.[a-z]`).FindString(string(text)); got != "" {
			t.Errorf("%s: got %q in it, want nothing from elsewhere", name, got)
		}
		if got := regexp.MustCompile(`innerHTML|insertAdjacentHTML|document\.write|<style|style="|onclick`).FindString(string(text)); got != "" {
			t.Errorf("%s: got %q in it, which the page's own policy or its promise forbids", name, got)
		}
		for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"|from "([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			resp, err := http.Get(url + m[1] + m[2])
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s asks for %s: got %s, want 200", name, m[1]+m[2], resp.Status)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestPostReachesTheRoomAndItsHistory(t *testing.T) {
	url := openSite(t)
	ann := connect(t, url, "")
	ann.join("café")
	resp, err := http.Post(url+"/rooms/caf%C3%A9/messages", "application/json; charset=utf-8", strings.NewReader(`{"message":"<hi>"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		ID     string
		Offset uint64
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("got %s, %v; want 201", resp.Status, err)
	}
	got := ann.wantEvent("message_new")
	if got["name"] != nobody || got["message"] != "<hi>" || got["id"] != answer.ID || answer.Offset == 0 {
		t.Errorf("got %v and the answer %+v, want the message with that id, at an offset", got, answer)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestWhatIsPostedAgainIsSaidOnce(t *testing.T) {
	url := openSite(t)
	pass, who := enter(t, url, "Ann")
	ann := connect(t, url, pass)
	ann.join("lobby")
	say := func(body, key string) (answer struct {
		ID     string
		Offset uint64
	}) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, url+"/rooms/lobby/messages", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusCreated {
			t.Errorf("post %s, key %s: got %s, %v; want 201", body, key, resp.Status, err)
		}
		return answer
	}
	for _, tt := range []struct{ body, key, id string }{
		{`{"message":"by its id","id":"i"}`, "", "i"},
		{`{"message":"by the header"}`, `"h"`, "h"},
		{`{"message":"by the header","id":"other"}`, "h2", "other"},
	} {
		first := say(tt.body, tt.key)
		for range 5 {
			if again := say(tt.body, tt.key); again != first || again.ID != tt.id {
				t.Errorf("post %s: got %+v, and again %+v", tt.body, first, again)
			}
		}
		if got := ann.wantEvent("message_new"); got["id"] != tt.id {
			t.Errorf("got %v, want the id %s", got, tt.id)
		}
	}
	ann.send("lobby", "message_new", `{"message":"by a client","id":"c","@key":"i"}`)
	ann.want("message_new", fmt.Sprintf(`{"name":"Ann","by":%q,"message":"by a client","id":"c"}`, who.ID))
	ann.want("phx_reply", `{"status":"ok","response":{}}`)
	ann.send("lobby", "message_new", `{"message":"by a client","id":"c","@key":"i"}`)
	ann.want("phx_reply", `{"status":"ok","response":{}}`)
	http.DefaultClient.CloseIdleConnections()
}

func TestPostRefuses(t *testing.T) {
	url := openSite(t, "https://chat.example.com")
	const ok = `{"message":"hi"}`
	tests := []struct {
		name, room, body string
		header           []string
		want             int
	}{
		{"from the page", "lobby", ok, []string{"Sec-Fetch-Site", "same-origin"}, 201},
		{"from a named origin", "lobby", ok, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://chat.example.com"}, 201},
		{"from another page", "lobby", ok, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"from another page of an old browser", "lobby", ok, []string{"Origin", "https://evil.example"}, 403},
		{"from a sandbox", "lobby", ok, []string{"Origin", "null"}, 403},
		{"a form", "lobby", ok, []string{"Content-Type", "text/plain"}, 415},
		{"no type", "lobby", ok, []string{"Content-Type", ""}, 415},
		{"no room", "a%3Ab", ok, nil, 404},
		{"a percent sign", "%25", ok, nil, 201},
		{"a room with a name of 100 bytes", strings.Repeat("x", 100), ok, nil, 201},
		{"one of 101", strings.Repeat("x", 101), ok, nil, 404},
		{"nothing", "lobby", " \n", nil, 400},
		{"no JSON", "lobby", "hello", nil, 400},
		{"more than one", "lobby", ok + ok, nil, 400},
		{"an array", "lobby", "[]", nil, 400},
		{"no message", "lobby", `{"name":"Ann"}`, nil, 400},
		{"a pass of another server", "lobby", ok, []string{"Authorization", "Bearer x.y"}, 401},
		{"a number", "lobby", `{"message":7}`, nil, 400},
		{"bad UTF-8", "lobby", "{\"name\":\"Ann\",\"message\":\"\xff\"}", nil, 400},
		{"deep", "lobby", `{"name":` + strings.Repeat("[", 20_000), nil, 400},
		{"a key without its end", "lobby", ok, []string{"Idempotency-Key", `"k`}, 400},
		{"a long key", "lobby", ok, []string{"Idempotency-Key", strings.Repeat("k", 10_000)}, 400},
		{"a long id", "lobby", `{"message":"hi","id":"` + strings.Repeat("k", 251) + `"}`, nil, 400},
		{"a key", "lobby", ok, []string{"Idempotency-Key", `"k"`}, 201},
		{"the same again", "lobby", ok, []string{"Idempotency-Key", "k"}, 201},
		{"the same in another room", "attic", ok, []string{"Idempotency-Key", "k"}, 201},
		{"another message with that key", "lobby", `{"message":"ho"}`, []string{"Idempotency-Key", "k"}, 422},
		{"the same id", "lobby", `{"message":"hi","id":"k"}`, nil, 422},
		{"large", "lobby", `{"message":"` + strings.Repeat("x", maxPost) + `"}`, nil, 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodPost, url+"/rooms/"+tt.room+"/messages", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(tt.header); i += 2 {
				req.Header.Set(tt.header[i], tt.header[i+1])
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var answer struct{ Reason string }
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				t.Errorf("the answer is no JSON: %v", err)
			}
			if resp.StatusCode != tt.want || (tt.want >= 400) != (answer.Reason != "") {
				t.Errorf("got %s %q, want %d, and a reason if it is refused", resp.Status, answer.Reason, tt.want)
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestPostSaysWhenAMessageIsNotKept(t *testing.T) {
	for _, tt := range []struct {
		why   error
		says  string
		retry bool
	}{
		{errors.New("disk on fire"), "try again", true},
		{fmt.Errorf("append: %w: disk on fire", boltstore.ErrFailed), "until the server is restarted", false},
	} {
		fails := func(context.Context, string, string, any, ...channel.SendOption) error { return tt.why }
		r := chi.NewRouter()
		r.Post("/rooms/{id}/messages", postMessage((&guests{}).identify, fails, slog.New(slog.DiscardHandler)))
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodPost, "/rooms/lobby/messages", strings.NewReader(`{"message":"hi"}`))
		req.Header.Set("Content-Type", "application/json")
		r.ServeHTTP(w, req)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), tt.says) || strings.Contains(w.Body.String(), "fire") {
			t.Errorf("%v: got %d %s, want 503, %q, and not why", tt.why, w.Code, w.Body, tt.says)
		}
		if got := w.Header().Get("Retry-After") != ""; got != tt.retry {
			t.Errorf("%v: got a Retry-After %t, want %t", tt.why, got, tt.retry)
		}
	}
}

func TestHealthzTellsWhetherMessagesAreTaken(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		body   string
	}{
		{nil, http.StatusOK, "ok\n"},
		{fmt.Errorf("health: %w", chime.ErrDraining), http.StatusServiceUnavailable, "shutting down\n"},
		{fmt.Errorf("/srv/chime.db: %w", store.ErrFull), http.StatusServiceUnavailable, "history: full\n"},
		{fmt.Errorf("health: nodes: %w", channel.ErrUnnamed), http.StatusServiceUnavailable, "starting: the other nodes do not know this one yet\n"},
		{fmt.Errorf("health: %w", broker.ErrUnavailable), http.StatusServiceUnavailable, "broker: can't be reached\n"},
		{errors.New("/srv/chime.db: input/output error"), http.StatusServiceUnavailable, "history: failed\n"},
	} {
		w := httptest.NewRecorder()
		healthy(func(context.Context) error { return tt.err })(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%v: got %d %q, want %d %q", tt.err, w.Code, w.Body, tt.status, tt.body)
		}
	}
}
