package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

func TestStartSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		o    embedded.Options
		want string
	}{
		{embedded.Options{}, "no directory: want Dir"},
		{embedded.Options{Dir: t.TempDir(), Listen: "4222"}, `address "4222": want host:port`},
		{embedded.Options{Dir: t.TempDir(), Listen: "localhost:http"}, "want a port from 0 to 65535"},
		{embedded.Options{Dir: t.TempDir(), Listen: ":4222"}, "want a Secret"},
		{embedded.Options{Dir: t.TempDir(), Cluster: "10.0.0.1:6222"}, "want a Secret"},
		{embedded.Options{Dir: t.TempDir(), Peers: []string{"127.0.0.1:1"}}, "want Cluster"},
		{embedded.Options{Dir: t.TempDir(), Cluster: "127.0.0.1:0", Peers: []string{"elsewhere"}}, `address "elsewhere"`},
	} {
		c.o.Log = quiet
		s, err := embedded.Start(c.o)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "start a NATS server: ") {
			t.Errorf("%+v: got %v, want %q", c.o, err, c.want)
		}
	}
}

// A server that can't meet a majority is not ready, and says so within the context.
func TestAServerWithoutAMajorityIsNotReady(t *testing.T) {
	var log bytes.Buffer
	s, err := embedded.Start(embedded.Options{
		Dir: t.TempDir(), Name: "one", Cluster: "127.0.0.1:0", Peers: []string{"127.0.0.1:1", "127.0.0.1:2"},
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = s.Close()
		if got := log.String(); strings.Contains(got, "level=ERROR") || !strings.Contains(got, "trying to connect to route") {
			t.Errorf("got the log\n%s\nwant no error while others have not begun", got)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) || s.URL() != "" {
		t.Errorf("got %v and the URL %q, want that it is not ready in time, and none", err, s.URL())
	}
	if _, err := nats.Open(ctx, nats.Options{Server: s, Log: quiet}); err == nil {
		t.Error("a broker was opened, want an error")
	}
}

// A client has to know the secret, but for one in the same process.
func TestTheSecretIsAskedFor(t *testing.T) {
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Name: "one", Listen: "127.0.0.1:0", Secret: "right", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		user string
		good bool
	}{{"", false}, {"chime:wrong@", false}, {"other:right@", false}, {"chime:right@", true}} {
		b, err := nats.Open(t.Context(), nats.Options{URL: strings.Replace(s.URL(), "nats://", "nats://"+c.user, 1), Log: quiet, GiveUp: 30 * time.Second})
		if err == nil {
			_ = b.Close()
		}
		if (err == nil) != c.good {
			t.Errorf("%q: got %v, want that it can connect: %t", c.user, err, c.good)
		}
	}
	b, err := nats.Open(t.Context(), nats.Options{Server: s, Log: quiet})
	if err != nil {
		t.Fatalf("in the process: %v", err)
	}
	_ = b.Close()
}
