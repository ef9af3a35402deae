// Package doctor finds out what the network between here and a server does to the
// transports of chime. It speaks to the server as a client does, looks at what comes
// back and when, and names what is wrong, with the settings of common proxies that cure
// it. It joins no topic.
package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/go-chime/chime/transport"
)

// Config says what is looked at.
type Config struct {
	URL      string // of the mount of the Router, with http or https
	Token    string // shown as a bearer token; "" is none
	Quick    bool   // without what takes more than some seconds on a network that is well
	Insecure bool   // any certificate will do
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)

	Found   func(Row)    // is told of each row as it is found; one goroutine calls it. May be nil
	Waiting func(string) // is told what is waited for. May be nil
}

// Row is one thing that was found.
type Row struct {
	About string `json:"about"`
	What  string `json:"what"`
	Found string `json:"found"`
}

// Report is all that was found.
type Report struct {
	URL     string   `json:"url"`
	Rows    []Row    `json:"rows"`
	Faults  []Fault  `json:"faults"`
	Works   []string `json:"works"` // transports that carry a client, in the order of preference
	Verdict string   `json:"verdict"`
}

// Healthy reports whether every transport that was tried carries a client, and nothing
// was found that is more than a caution.
func (r *Report) Healthy() bool {
	return len(r.Works) > 0 && !slices.ContainsFunc(r.Faults, func(f Fault) bool { return !f.Caution })
}

// Run examines the network between here and a server. The error says that the
// configuration is wrong, that nothing listens there, or that the server wants another
// token; a network that lets nothing through is no error, but a Report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("doctor: URL: got %q: want http or https and a host, as in http://127.0.0.1:4000/socket", cfg.URL)
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &exam{Config: cfg, base: base, ctx: ctx, report: &Report{URL: cfg.URL, Faults: []Fault{}, Works: []string{}}}
	defer x.end(cancel)
	if err := x.all(); err != nil {
		return nil, fmt.Errorf("doctor: URL: got %q: %w", cfg.URL, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	x.report.conclude()
	return x.report, nil
}

// exam is one run.
type exam struct {
	Config
	base    *url.URL
	ctx     context.Context
	working sync.WaitGroup // what reads connections
	report  *Report

	foreign    bool     // the server does not take the origin of its own pages for its own
	transports []string // that the server speaks; nil: no hello has said so
}

func (x *exam) all() error {
	if through, err := x.reach(); !through || err != nil {
		return err
	}
	if err := x.origin(); err != nil {
		return err
	}
	x.webSocket()
	x.stream()
	x.poll()
	x.headers()
	if x.works(transport.SSE) {
		x.connections()
	}
	if !x.Quick {
		x.watch()
	}
	return nil
}

func (x *exam) end(cancel func()) {
	cancel()
	x.working.Wait()
}

// note adds a row.
func (x *exam) note(about, what, format string, args ...any) {
	row := Row{about, what, fmt.Sprintf(format, args...)}
	x.report.Rows = append(x.report.Rows, row)
	if x.Found != nil {
		x.Found(row)
	}
}

func (x *exam) wait(format string, args ...any) {
	if x.Waiting != nil {
		x.Waiting(fmt.Sprintf(format, args...))
	}
}

func (x *exam) carries(kind string)    { x.report.Works = append(x.report.Works, kind) }
func (x *exam) works(kind string) bool { return slices.Contains(x.report.Works, kind) }

// offers reports whether the server speaks a transport, as far as it has said.
func (x *exam) offers(kind string) bool {
	return x.transports == nil || slices.Contains(x.transports, kind)
}

// client has a connection for each request. A WebSocket needs HTTP/1.
func (x *exam) client(http1 bool) *http.Client {
	pool := &http.Transport{
		DialContext:        x.Dial,
		DisableCompression: true,
		DisableKeepAlives:  true, // a box may have room for few connections
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: x.Insecure},
		Protocols:          &http.Protocols{},
	}
	pool.Protocols.SetHTTP1(true)
	pool.Protocols.SetHTTP2(!http1)
	return &http.Client{Transport: pool, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// request is one of a client of the server: with its token, and as a page of the
// server's own origin.
func (x *exam) request(ctx context.Context, method, path, body string, header ...string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, x.base.JoinPath(path).String(), strings.NewReader(body))
	if err != nil {
		panic("chime: doctor: " + err.Error()) // of a method or a URL that was good before
	}
	if body == "" {
		r.Body, r.ContentLength = nil, 0
	}
	if x.Token != "" {
		r.Header.Set("Authorization", "Bearer "+x.Token)
	}
	if !x.foreign {
		r.Header.Set("Origin", x.base.Scheme+"://"+x.base.Host)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}
