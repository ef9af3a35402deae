package mount_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// What stays of the request that opened a client socket are copies: a part of a
// string keeps all of it, and the request line may have a megabyte.
func TestAClientKeepsNothingOfItsRequestButWhatIsUsed(t *testing.T) {
	const clients, padding, most = 40, 200_000, 20_000
	for name, open := range map[string]func(t *testing.T, s *raw.Site, query string){
		"websocket/phoenix": func(t *testing.T, s *raw.Site, query string) {
			s.Upgrade(t, "/t/acme/socket/websocket?vsn=2.0.0&"+query).Opened()
		},
		"websocket/chime": func(t *testing.T, s *raw.Site, query string) {
			s.Upgrade(t, "/t/acme/socket/websocket?"+query, "Sec-WebSocket-Protocol: chime.v1").Opened()
		},
		"websocket/amber": func(t *testing.T, s *raw.Site, query string) {
			s.Upgrade(t, "/t/acme/socket?"+query).Opened()
		},
		"stream/chime": func(t *testing.T, s *raw.Site, query string) {
			s.Request(t, http.MethodGet, "/t/acme/socket/sse?"+query, "", "Chime-Received: 0")
		},
		"poll/chime": func(t *testing.T, s *raw.Site, query string) {
			secret := s.PollAt(t, "/t/acme/socket/poll?"+query).Secret
			t.Cleanup(func() { s.Request(t, http.MethodPost, "/t/acme/socket/bye", secret) }) // or the end would wait for its next poll
		},
		"stream/bare": func(t *testing.T, s *raw.Site, query string) { // what it is since is no payload, so it may be long
			s.Request(t, http.MethodGet, "/t/acme/socket/sse?join=hall:1&user=ann&since=epoch:"+strings.Repeat("9,", len(query)/2), "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, live := raw.NewRouter(t, chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
				return chime.Identity{ID: r.URL.Query().Get("user")}, nil // a part of the request line
			}))
			app := chi.NewRouter()
			app.Use(middleware.RequestID, middleware.RealIP) //nolint:staticcheck // it writes r.RemoteAddr, as many apps have it do
			app.Route("/t/{tenant}", func(r chi.Router) { r.Mount("/socket", live) })
			s.Serve(t, app)
			heap := func(padding int) int64 {
				before := heapBytes()
				for i := range clients {
					open(t, s, fmt.Sprintf("user=ann%d&pad=%s", i, strings.Repeat("x", padding)))
				}
				return heapBytes() - before
			}
			bare, padded := heap(0), heap(padding)
			t.Logf("%d bytes a client, and %d with a request line of %d; both ends are in this process", bare/clients, padded/clients, padding)
			if padded > bare+clients*most {
				t.Errorf("a client whose request line has %d bytes keeps %d more than others, want at most %d", padding, (padded-bare)/clients, most)
			}
		})
	}
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
