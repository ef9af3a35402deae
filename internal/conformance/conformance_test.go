package conformance_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/conformance"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

func TestMain(m *testing.M) { leak.Main(m) }

// room rebroadcasts, which is all that the suite asks of a channel.
type room struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (room) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	return nil, s.Rebroadcast(ctx, m)
}

// results runs the suite against a Router behind a handler, in a bubble, where
// what waits takes no time.
func results(t *testing.T, behind func(http.Handler) http.Handler, cfg conformance.Config, options ...chime.Option) (list []conformance.Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		kept := store.NewMemory()
		live := chime.NewRouter(append(options, chime.WithAnonymous(), chime.WithStore(kept), chime.WithLogger(slog.New(slog.DiscardHandler)))...)
		live.Channel("chat_room:{id}", room{}, channel.History{Keep: 500, Replay: 20})
		mux := http.NewServeMux()
		mux.Handle("/socket/", http.StripPrefix("/socket", live))
		var handler http.Handler = mux
		if behind != nil {
			handler = behind(mux)
		}
		in := raw.NewPipes()
		server := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(in)
		}()
		cfg.URL, cfg.Dial = "http://chime.test/socket", func(context.Context, string, string) (net.Conn, error) { return in.Dial() }
		cfg.Topic, cfg.Event, cfg.Payload, cfg.Cuts = "chat_room:", "message_new", `{"text":"%s"}`, 50
		if raceDetector {
			cfg.Cuts = 10
		}
		if err := conformance.Run(t.Context(), cfg, func(r conformance.Result) { list = append(list, r) }); err != nil {
			t.Error(err)
		}
		if err := live.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		_ = server.Close()
		<-done
		_ = kept.Close()
		time.Sleep(time.Second) // net/http lingers on a connection that it has closed
	})
	return list
}

func TestTheServerIsWhatThePageSays(t *testing.T) {
	// The slow checks are an hour of heartbeats: more events than the race detector
	// can number. .ci/run has them without it.
	list := results(t, nil, conformance.Config{Slow: !raceDetector})
	for _, r := range list {
		if r.Err != nil && !(raceDetector && errors.Is(r.Err, conformance.ErrSkipped)) {
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}
	if len(list) < 60 {
		t.Errorf("got %d checks, want all", len(list))
	}
}

// An application may have no rates, which is not wrong.
func TestRatesThatThereAreNotAreSkipped(t *testing.T) {
	none := chime.Limits{FramesPerSecond: chime.NoLimit, JoinsPerSecond: chime.NoLimit}
	list := results(t, nil, conformance.Config{Only: "rates:"}, chime.WithLimits(none))
	for _, r := range list {
		if !errors.Is(r.Err, conformance.ErrSkipped) {
			t.Errorf("%s: got %v, want %v", r.Name, r.Err, conformance.ErrSkipped)
		}
	}
	if len(list) == 0 {
		t.Error("nothing was tried")
	}
}
