package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// anybody is the configuration of a server that nobody comes to.
var anybody = Config{
	Connect: func(*http.Request) (transport.Identity, error) { return transport.Identity{}, nil },
	Accept:  func(transport.ClientSocket) transport.Receiver { return deaf{} },
}

type deaf struct{}

func (deaf) Receive(wire.Frame)                   {}
func (deaf) Finish(time.Duration) <-chan struct{} { return nil }
func (deaf) Closed(transport.Reason)              {}

func TestAConfigurationThatCannotBeMeantIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":                               func(*Config) {},
		"a server needs Connect":         func(cfg *Config) { cfg.Connect = nil },
		"a server needs Connect and Acc": func(cfg *Config) { cfg.Accept = nil },
		"limit Topics: -1: ":             func(cfg *Config) { cfg.Limits.Topics = -1 },
		`origin "*": `:                   func(cfg *Config) { cfg.Origins = []string{"*"} },
		"grace period: -1ns: ":           func(cfg *Config) { cfg.Grace = -1 },
		"grace period: 3m0s: ":           func(cfg *Config) { cfg.Grace = 3 * time.Minute },
	} {
		cfg := anybody
		change(&cfg)
		if _, err := New(cfg); (want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAChimeReceivedThatIsNoNumberIsRefused(t *testing.T) {
	s, err := New(anybody)
	if err != nil {
		t.Fatal(err)
	}
	for _, received := range []string{"abc", "-1", "1.5", "0x1", " 1", "18446744073709551616"} {
		for _, secret := range []string{"", "a secret"} {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/sse", nil)
			r.Header.Set(headerReceived, received)
			r.Header.Set(headerSecret, secret)
			refused := make(chan struct{})
			go func() {
				defer close(refused)
				s.ServeStream(w, r)
			}()
			select {
			case <-refused:
			case <-time.After(10 * time.Second):
				t.Fatalf("%q: a stream is opened", received)
			}
			want := fmt.Sprintf("{\"reason\":%q}\n", fmt.Sprintf("Chime-Received: %q: want a number", received))
			if got := w.Body.String(); w.Code != http.StatusBadRequest || got != want {
				t.Errorf("%q: got %d %s, want 400 %s", received, w.Code, got, want)
			}
		}
	}
}
