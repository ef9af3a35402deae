package server

import (
	"net/http"
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

func (deaf) Receive(wire.Frame)      {}
func (deaf) Closed(transport.Reason) {}

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
