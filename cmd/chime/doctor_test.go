package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/transport/transporttest"
)

func TestDoctor(t *testing.T) {
	t.Parallel() // it waits
	live := chime.NewRouter(chime.WithAnonymous())
	mux := http.NewServeMux()
	mux.Handle("/socket/", http.StripPrefix("/socket", live))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := live.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	for _, c := range []struct {
		network string
		code    int
		want    []string
	}{
		{"", 0, []string{"websocket    server to client   yes, hello after ", "\nall is well: clients connect by websocket"}},
		{"drops-upgrade", exitFaults, []string{"\nFAULT upgrade-dropped: ", "\n      nginx       map $http_upgrade", "\n                  proxy_set_header Upgrade $http_upgrade;", "\n      Cloudflare  # Network > WebSockets: on", "\nclients connect by sse, in spite of upgrade-dropped"}},
		{"http-1.0", exitFaults, []string{"\nnote  http-1.0: "}},
		{"local-network", exitNothing, []string{"\nFAULT nothing-passes: ", "\nno transport gets through"}},
	} {
		t.Run("through "+c.network, func(t *testing.T) {
			t.Parallel()
			url := server.URL
			if network, known := transporttest.Named(c.network); known {
				box := network.Start(server.URL)
				defer box.Close()
				url = box.URL
			}
			var out, errs strings.Builder
			if code := run(t.Context(), []string{"doctor", "--quick", url + "/socket"}, &out, &errs); code != c.code || errs.String() != "" {
				t.Errorf("got %d and %q, want %d and no error", code, errs.String(), c.code)
			}
			for _, text := range c.want {
				if !strings.Contains(out.String(), text) {
					t.Errorf("got\n%s\nwant %q in it", out.String(), text)
				}
			}
		})
	}
	t.Run("as JSON", func(t *testing.T) {
		t.Parallel()
		network, _ := transporttest.Named("drops-upgrade")
		box := network.Start(server.URL)
		defer box.Close()
		var out, errs strings.Builder
		if code := run(t.Context(), []string{"doctor", "--quick", "--json", box.URL + "/socket"}, &out, &errs); code != exitFaults || errs.String() != "" {
			t.Fatalf("got %d and %q, want %d", code, errs.String(), exitFaults)
		}
		got, want := shapeOf(t, out.String()), shapeOf(t, documented(t))
		if got != want {
			t.Errorf("got an object with %s, and docs/networks.md has one with %s", got, want)
		}
	})
	t.Run("no Router", func(t *testing.T) {
		t.Parallel()
		var out, errs strings.Builder
		want := "chime: doctor: URL: got \"" + server.URL + "\": 404 Not Found: want the URL at which a router is mounted, which is " + server.URL + "/socket\n"
		if code := run(t.Context(), []string{"doctor", "--quick", server.URL}, &out, &errs); code != 1 || errs.String() != want {
			t.Errorf("got %d and %q, want 1 and %q", code, errs.String(), want)
		}
	})
	t.Run("no URL", func(t *testing.T) {
		t.Parallel()
		var out, errs strings.Builder
		if code := run(t.Context(), []string{"doctor"}, &out, &errs); code != 1 || errs.String() != "chime: doctor: got 0 arguments: want URL\n" {
			t.Errorf("got %d and %q, want 1 and what is missing", code, errs.String())
		}
	})
}

// documented is the object that docs/networks.md shows.
func documented(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/networks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```json\n")
	text, _, _ = strings.Cut(text, "```")
	return text
}

// shapeOf lists the keys of an object, and of the first of each of its lists, with the types of their values.
func shapeOf(t *testing.T, text string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var keys []string
	var walk func(at string, value any)
	walk = func(at string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for key, v := range value {
				walk(at+"."+key, v)
			}
		case []any:
			if len(value) == 0 {
				t.Errorf("%s is empty", at)
				return
			}
			walk(at+"[]", value[0])
		default:
			keys = append(keys, fmt.Sprintf("%s: %T", at, value))
		}
	}
	walk("", value)
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}
