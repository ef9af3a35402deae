// Package conformance checks a server of the chime dialect from outside: what
// docs/protocol.md says, it tries, on both transports, through a proxy of its
// own that cuts connections. It shares no code with the server, so it does not
// share its mistakes.
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

// Config says what is checked. The channel of the topics lets anybody in without
// a payload, rebroadcasts Event, perhaps with more fields, and has a History that
// keeps and replays at least 20 messages. What else it says, with another event and not
// retained, is counted and otherwise ignored.
type Config struct {
	URL     string // of the mount of the Router, with http or https
	Token   string // shown as a bearer token; "" is none
	Topic   string // what topics begin with; a random name follows
	Event   string
	Payload string // a JSON object; each %s becomes a text that must be in what is rebroadcast
	Cuts    int    // messages sent while connections are cut
	Slow    bool   // also what takes time: heartbeats, silence, the grace period
	Only    string // what the names of the checks begin with
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

// Result is the outcome of one check.
type Result struct {
	Name string // "group: what has to hold, transport"
	Err  error  // nil if it holds, ErrSkipped if it was not tried
}

// ErrSkipped is of a check that the configuration or the server leaves out.
var ErrSkipped = errors.New("skipped")

// wait is how long anything that must come may take.
const wait = 5 * time.Second

// Run runs all checks, up to 8 at once, and reports each in the order of the
// page. The error says that the configuration is wrong, or no server there.
func Run(ctx context.Context, cfg Config, report func(Result)) error {
	base, err := url.Parse(cfg.URL)
	switch {
	case err != nil, base.Host == "", base.Scheme != "http" && base.Scheme != "https":
		return fmt.Errorf("conformance: URL: got %q: want http or https and a host, as in http://127.0.0.1:4000/socket", cfg.URL)
	case !strings.Contains(cfg.Payload, "%s"):
		return fmt.Errorf("conformance: payload: got %q: want a JSON object with %%s in it", cfg.Payload)
	case cfg.Dial == nil:
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	// A wrong URL is one error, not one of each check.
	if err := cfg.try(ctx, base, (*try).reach); err != nil {
		return fmt.Errorf("conformance: URL: got %q: %w", cfg.URL, err)
	}
	var working sync.WaitGroup
	defer working.Wait()
	places := make(chan struct{}, 8)
	var results []chan Result
	for _, c := range checks {
		for _, kind := range c.kinds {
			if !strings.HasPrefix(c.name, cfg.Only) {
				continue
			}
			done := make(chan Result, 1)
			results = append(results, done)
			working.Go(func() {
				r := Result{strings.TrimSuffix(c.name+", "+kind, ", "), ErrSkipped}
				if !c.slow {
					places <- struct{}{}
					defer func() { <-places }()
				}
				if cfg.Slow || !c.slow {
					r.Err = cfg.try(ctx, base, func(t *try) { c.run(t, kind) })
				}
				done <- r
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

// try is one run of one check: a topic, a proxy and connections of its own.
type try struct {
	Config
	base  *url.URL
	ctx   context.Context
	topic string
	proxy *proxy
	http  *http.Client
	refs  atomic.Int64
}

func (cfg Config) try(ctx context.Context, base *url.URL, run func(*try)) error {
	ctx, cancel := context.WithCancel(ctx)
	p := &proxy{dial: cfg.Dial}
	transport := &http.Transport{DialContext: p.connect, DisableCompression: true, ResponseHeaderTimeout: wait}
	defer p.close()
	defer transport.CloseIdleConnections()
	defer cancel()
	t := &try{Config: cfg, base: base, ctx: ctx, topic: cfg.Topic + rand.Text(), proxy: p, http: &http.Client{Transport: transport}}
	return t.attempt(func() { run(t) })
}

func (t *try) reach() {
	res, err := t.http.Do(t.request(t.ctx, http.MethodGet, "sse", "", "Chime-Received", "0"))
	if err != nil {
		t.fail("%w: want a server that answers", errors.Unwrap(err))
	}
	_ = res.Body.Close()
	switch res.StatusCode {
	case http.StatusNotFound:
		t.fail("%s: want the URL at which a router is mounted", res.Status)
	case http.StatusUnauthorized:
		t.fail("%s: want a token that the server knows", res.Status)
	}
}

// failure is how whatever does not hold ends a check.
type failure struct{ error }

func (t *try) fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// attempt returns the failure of f.
func (t *try) attempt(f func()) (err error) {
	defer func() {
		if caught := recover(); caught != nil {
			f, ok := caught.(failure)
			if !ok {
				panic(caught)
			}
			err = f.error
		}
	}()
	f()
	return nil
}

// errBroken is of a connection that ended.
var errBroken = errors.New("the connection ended")

// works fails if the network did not let something be done.
func (t *try) works(what string, err error) {
	if err != nil {
		t.fail("%s: %w: %w", what, errBroken, err)
	}
}

// want fails unless got is what is wanted.
func want[T comparable](t *try, what string, got, wanted T) {
	if got != wanted {
		t.fail("%s: got %v, want %v", what, got, wanted)
	}
}
