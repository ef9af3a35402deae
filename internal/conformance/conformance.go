// Package conformance checks a server of the chime dialect from outside: what
// docs/protocol.md says, it tries, on both transports, through a proxy of its
// own that cuts connections. It shares no code with the server, so it does not
// share its mistakes.
//
// The server needs a channel with a history that rebroadcasts an event, such as
// chat_room:{id} of "chime serve": see [Config].
package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what is checked. URL is needed.
type Config struct {
	URL   string // of the mount of the Router, with http or https
	Token string // shown as a bearer token; "" is none

	// Topic is what the topics of the checks begin with; a random name follows.
	// Their channel lets anybody in without a payload, has a History that keeps
	// and replays at least 20 messages, and rebroadcasts Event. It may add fields
	// to the payload. "chat_room:" if it is empty.
	Topic string
	Event string // "message_new" if it is empty
	// Payload is a JSON object in which each %s is replaced by a text that has to
	// be in what is rebroadcast. `{"name":"%s","message":"%s"}` if it is empty.
	Payload string

	Only string        // what the names of the checks begin with
	Slow bool          // also what takes time: heartbeats, silence, the end of the grace period
	Cuts int           // messages sent while connections are cut; 50 if it is 0
	Wait time.Duration // for whatever has to come; 5 s if it is 0
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Result is the outcome of one check.
type Result struct {
	Name    string // "group: what has to hold, transport"
	Err     error  // nil if it holds
	Skipped bool
}

// Run runs all checks, up to 8 at once, and reports each in the order of the
// page. The error says that the configuration is wrong.
func Run(ctx context.Context, cfg Config, report func(Result)) error {
	s, err := newSuite(cfg)
	if err != nil {
		return err
	}
	var working sync.WaitGroup
	defer working.Wait()
	places := make(chan struct{}, 8)
	var results []chan Result
	for _, c := range checks {
		if !strings.HasPrefix(c.name, cfg.Only) {
			continue
		}
		for _, kind := range c.kinds {
			name := c.name
			if kind != "" {
				name += ", " + kind
			}
			done := make(chan Result, 1)
			results = append(results, done)
			if c.slow && !cfg.Slow {
				done <- Result{Name: name, Skipped: true}
				continue
			}
			working.Go(func() {
				if !c.slow {
					places <- struct{}{}
					defer func() { <-places }()
				}
				err := s.try(ctx, func(t *try) { c.run(t, kind) })
				if err == errSkipped {
					done <- Result{Name: name, Skipped: true}
					return
				}
				done <- Result{Name: name, Err: err}
			})
		}
	}
	for _, done := range results {
		report(<-done)
	}
	return nil
}

// check is one sentence of the page. Slow ones mostly wait, all at once.
type check struct {
	name  string
	slow  bool
	kinds []string // the transports that it is run on, each by itself
	run   func(t *try, kind string)
}

const (
	onWebSocket = "websocket"
	onStream    = "sse"
)

var (
	once  = []string{""}
	each  = []string{onWebSocket, onStream}
	pairs = []string{"websocket to websocket", "websocket to sse", "sse to websocket", "sse to sse"}
)

func other(kind string) string {
	if kind == onStream {
		return onWebSocket
	}
	return onStream
}

type suite struct {
	Config
	base *url.URL
}

func newSuite(cfg Config) (*suite, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("conformance: URL: got %q: want http or https and a host, as in http://127.0.0.1:4000/socket", cfg.URL)
	}
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&cfg.Topic, "chat_room:")
	set(&cfg.Event, "message_new")
	set(&cfg.Payload, `{"name":"%s","message":"%s"}`)
	if !strings.Contains(cfg.Payload, "%s") {
		return nil, fmt.Errorf("conformance: payload: got %q: want a JSON object with %%s in it", cfg.Payload)
	}
	if cfg.Wait == 0 {
		cfg.Wait = 5 * time.Second
	}
	if cfg.Cuts == 0 {
		cfg.Cuts = 50
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	return &suite{cfg, u}, nil
}

// try is one run of one check: a topic, a proxy and connections of its own.
type try struct {
	*suite
	ctx   context.Context
	topic string
	proxy *proxy
	http  *http.Client
	refs  atomic.Int64
}

// failure is how a check ends when something does not hold, and skip if the
// server does not have what it is about.
type (
	failure struct{ error }
	skip    struct{}
)

func (t *try) fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (s *suite) try(ctx context.Context, run func(*try)) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &proxy{dial: s.Dial}
	transport := &http.Transport{DialContext: p.connect, DisableCompression: true, ResponseHeaderTimeout: s.Wait}
	t := &try{suite: s, ctx: ctx, topic: s.Topic + rand.Text(), proxy: p, http: &http.Client{Transport: transport}}
	defer func() {
		cancel()
		transport.CloseIdleConnections()
		p.close()
		if caught := recover(); caught != nil {
			switch caught := caught.(type) {
			case failure:
				err = caught.error
			case skip:
				err = errSkipped
			default:
				panic(caught)
			}
		}
	}()
	run(t)
	return nil
}

// want fails unless got is what is wanted.
func want[T comparable](t *try, what string, got, wanted T) {
	if got != wanted {
		t.fail("%s: got %v, want %v", what, got, wanted)
	}
}

// must fails if there is an error.
func must[T any](t *try, what string) func(T, error) T {
	return func(v T, err error) T {
		if err != nil {
			t.fail("%s: %w", what, err)
		}
		return v
	}
}

var (
	errNothing = errors.New("nothing came in time")
	errSkipped = errors.New("skipped")
	errEnded   = errors.New("the connection ended")
)
