// Package operations_test is what docs/operations.md and docs/transports.md show.
package operations_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/metrics"
	"github.com/go-chime/chime/store"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestTheServerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	srv := bounded(http.NotFoundHandler())
	srv.Addr = "127.0.0.1:0"
	if err := run(ctx, chime.NewRouter(chime.WithAnonymous()), srv); err != nil {
		t.Error(err)
	}
}

func TestTheServerOfHTTP2EndsWithItsParts(t *testing.T) {
	kept := store.NewMemory()
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(kept))
	if err := stop(t.Context(), live, server(live), kept); err != nil {
		t.Error(err)
	}
	if err := live.Broadcast(t.Context(), "any", "said", nil); err == nil {
		t.Error("a router without a channel took a broadcast")
	}
}

func TestOnlyPagesAreMeasured(t *testing.T) {
	live := chime.NewRouter(chime.WithAnonymous())
	register(live)
	seen := 0
	measured := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen++
			next.ServeHTTP(w, r)
		})
	}
	r := chi.NewRouter()
	routes(r, live, measured, func(http.ResponseWriter, *http.Request) {})
	for _, path := range []string{"/", "/socket/chime.js"} {
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	if seen != 1 {
		t.Errorf("%d requests were measured, want that of the page", seen)
	}
	if err := live.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func run(ctx context.Context, live *chime.Router, srv *http.Server) error {
	live.Attach(srv) // before it serves
	go func() { log.Print(srv.ListenAndServe()) }()
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return srv.Shutdown(end) // drains, waits, and ends what else there is
}

func bounded(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // for requests with a body
		IdleTimeout:       2 * time.Minute,  // of a kept connection between requests
		MaxHeaderBytes:    32 << 10,
	}
}

func register(live *chime.Router) {
	prometheus.MustRegister(metrics.NewCollector(live))
}

func routes(r chi.Router, live *chime.Router, measured func(http.Handler) http.Handler, home http.HandlerFunc) {
	r.Mount("/socket", live) // not in the group that is measured
	r.Group(func(r chi.Router) {
		r.Use(measured)
		r.Get("/", home)
	})
}

func server(app http.Handler) *http.Server {
	return &http.Server{
		Handler: app,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  15 * time.Second, // after so long without anything of the client
			PingTimeout:      15 * time.Second, // for the answer
			WriteByteTimeout: 15 * time.Second, // for a client that reads no more
		},
	}
}

func stop(ctx context.Context, live *chime.Router, srv *http.Server, kept *store.Memory) error {
	return errors.Join(
		live.Shutdown(ctx), // clients: told to come back, left with Drained, waited for
		srv.Shutdown(ctx),  // plain requests
		kept.Close())       // nobody uses it any more
}
