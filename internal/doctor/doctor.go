// Package doctor finds out what the network between here and a server does to the
// transports of chime. It speaks to the server as a client does, looks at what comes
// back and when, and names what is wrong, with the settings of common proxies that cure
// it. It joins no topic.
package doctor

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"

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
	x := &exam{&site{Config: cfg, base: base, ctx: ctx}, &findings{found: cfg.Found, waiting: cfg.Waiting, report: &Report{URL: cfg.URL, Faults: []Fault{}, Works: []string{}}}}
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

// exam is one run: what is looked at, and in which order.
type exam struct {
	*site
	*findings
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
