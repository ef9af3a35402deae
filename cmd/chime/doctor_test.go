package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/transport/transporttest"
)

func TestDoctor(t *testing.T) {
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
		var out, errs strings.Builder
		if code := run(t.Context(), []string{"doctor", "--quick", "--json", server.URL + "/socket"}, &out, &errs); code != 0 || errs.String() != "" {
			t.Fatalf("got %d and %q, want 0", code, errs.String())
		}
		var report struct {
			Rows, Faults []map[string]any
			Works        []string
			Verdict      string
		}
		if err := json.Unmarshal([]byte(out.String()), &report); err != nil || len(report.Rows) < 8 || report.Faults == nil || report.Works[0] != "websocket" || report.Verdict == "" {
			t.Errorf("got %v and\n%s", err, out.String())
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
