package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/store"
)

func TestConformanceOfTheChat(t *testing.T) {
	t.Parallel() // it waits
	kept := store.NewMemory()
	handler, live, err := site(door(t), nil, slog.New(slog.DiscardHandler), chime.WithStore(kept))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer func() { // the streams of the clients first
		if err := live.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		server.Close()
		_ = kept.Close()
	}()
	var out, errs strings.Builder
	code := run(t.Context(), []string{"conformance", server.URL + "/socket"}, &out, &errs)
	if last := lastLine(out.String()); code != 0 || !regexp.MustCompile(`^\d\d passed, 0 failed, \d+ skipped$`).MatchString(last) {
		t.Errorf("got %d, %q and %q, want 0 and no failures in\n%s", code, last, errs.String(), out.String())
	}
	out.Reset()
	code = run(t.Context(), []string{"conformance", server.URL + "/socket", "--topic", "nobody:", "--event", "x"}, &out, &errs)
	if code != 1 || !strings.Contains(out.String(), "\nFAIL  history: @last replays the newest, and begins before them, websocket: join of nobody:") {
		t.Errorf("got %d and\n%s\nwant 1 and what failed", code, out.String())
	}
	if got := errs.String(); !regexp.MustCompile(`^chime: conformance of http://127\.0\.0\.1:\d+/socket: \d+ checks failed: none may\n$`).MatchString(got) {
		t.Errorf("got the error %q", got)
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func TestConformanceWantsAURL(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/socket/sse" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.NotFound(w, r)
	}))
	defer refuses.Close()
	ended := httptest.NewServer(nil)
	ended.Close()
	for _, c := range []struct{ args, want string }{
		{ended.URL, fmt.Sprintf("chime: conformance: URL: got %q: dial tcp %s: connect: connection refused: want a server that answers\n", ended.URL, strings.TrimPrefix(ended.URL, "http://"))},
		{refuses.URL, fmt.Sprintf("chime: conformance: URL: got %q: 404 Not Found: want the URL at which a router is mounted\n", refuses.URL)},
		{refuses.URL + "/socket", fmt.Sprintf("chime: conformance: URL: got %q: 401 Unauthorized: want a token that the server knows\n", refuses.URL+"/socket")},
		{"", "chime: conformance: got 0 arguments: want URL\n"},
		{"127.0.0.1:4000", "chime: conformance: URL: got \"127.0.0.1:4000\": want http or https and a host, as in http://127.0.0.1:4000/socket\n"},
		{"http://127.0.0.1:4000 --payload {}", "chime: conformance: payload: got \"{}\": want a JSON object with %s in it\n"},
	} {
		var out, errs strings.Builder
		if code := run(t.Context(), append([]string{"conformance"}, strings.Fields(c.args)...), &out, &errs); code != 1 || errs.String() != c.want {
			t.Errorf("%q: got %d and %q, want 1 and %q", c.args, code, errs.String(), c.want)
		}
	}
}
