// Package forward sends the requests of clients whose client socket is on another node to
// that node, so that a load balancer may send each to whichever it likes. A client socket
// has the state of an application, which can't be moved; a request can.
//
// The node that owns a client socket decides on each request as if it had come to it: it
// sees the headers, the body and the Host that the client has sent, behind its own
// middleware, and the addresses in X-Forwarded-For.
package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/task"
)

const (
	// header is on what was forwarded, which is never forwarded again: its value is the ID
	// of the node that did it.
	header = "Chime-Forwarded"

	// dialWait is how long it may take to reach a node: they are near.
	dialWait = 2 * time.Second

	// patience is how long a node may take to begin its answer: longer than a poll is parked.
	patience = 30 * time.Second

	// fresh is how long it is believed that a node is up, and hasty how long that others are
	// not: one that has just begun has clients at once. For as long as tried a node is dialled
	// that is named no longer.
	fresh = time.Second
	hasty = 50 * time.Millisecond
	tried = 30 * time.Second

	// quiet is for how long a node is not dialled that could not be reached.
	quiet = 3 * time.Second

	// maxAnswer bounds what a node may answer to a Post.
	maxAnswer = 64 << 10
)

// Config says which nodes there are.
type Config struct {
	Self  broker.Node
	Nodes func(context.Context) ([]broker.Node, error)
	// Transport reaches the other nodes; nil: HTTP/1.1, and TLS by the roots of the system.
	Transport http.RoundTripper
	// StuckFor is how long a write to a client may block.
	StuckFor time.Duration
}

// Forwarder sends requests to other nodes. Its methods are safe for concurrent use.
type Forwarder struct {
	config Config
	proxy  *httputil.ReverseProxy
	tasks  task.Group

	mu     sync.Mutex // guards what follows
	closed bool
	calls  map[*call]struct{} // that are under way
	nodes  map[string]*place
	asking chan struct{} // closed when it is known which these are; nil if nobody asks
	known  mono.Instant  // when that was asked last; zero: never
	failed error         // why it could not be said
}

// New returns a Forwarder. It must be drained.
func New(cfg Config) *Forwarder {
	if cfg.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.Proxy = nil
		t.DialContext = (&net.Dialer{Timeout: dialWait, KeepAlive: 15 * time.Second}).DialContext
		t.MaxIdleConnsPerHost = 64
		t.ForceAttemptHTTP2 = false // an upgrade needs a connection of its own
		t.DisableCompression = true // the client says what it can read
		cfg.Transport = t
	}
	f := &Forwarder{config: cfg, calls: map[*call]struct{}{}, nodes: map[string]*place{}}
	f.proxy = &httputil.ReverseProxy{
		Rewrite:       f.rewrite,
		Transport:     trips{cfg.Transport},
		FlushInterval: -1, // frames are small, and come when they come
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			if c, ok := r.Context().Value(callKey{}).(*call); ok {
				c.err = err
			}
		},
		ErrorLog: log.New(io.Discard, "", 0), // what fails is answered
	}
	return f
}

// call is a request that is forwarded.
type call struct {
	to    *url.URL
	err   error
	ended <-chan struct{}
	end   context.CancelFunc
	late  *time.Timer // ends it if nothing is answered
	said  http.Header // what this node has said to the client
}

// trips are those of requests that are forwarded.
type trips struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t trips) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err == nil {
		r.Context().Value(callKey{}).(*call).answered(resp.Header)
	}
	return resp, err
}

// answered is called with the headers of an answer. What middleware of this node has said
// to the client, that of the other node has said too.
func (c *call) answered(h http.Header) {
	c.late.Stop()
	for name := range h {
		if name != "Set-Cookie" {
			delete(c.said, name)
		}
	}
}

type callKey struct{}

// Serve has the node with an ID answer r, and reports whether it, or the attempt, did. If not
// nothing was written, and the body may be closed: the node is this one, is not up or can't
// be reached, or the request was forwarded before.
func (f *Forwarder) Serve(w http.ResponseWriter, r *http.Request, node string) (answered bool) {
	to, certain := f.find(r.Context(), r, node)
	switch {
	case !certain && to == nil: // a client socket that is there must not be taken to be gone
		refuse(w, http.StatusServiceUnavailable, "it is not known where this client socket is")
		return true
	case to == nil, r.Method == http.MethodConnect: // a WebSocket over HTTP/2 is a stream of its own
		return false
	}
	f.tasks.Do(func() { answered = f.serve(w, r, to) })
	return answered
}

func (f *Forwarder) serve(w http.ResponseWriter, r *http.Request, to *url.URL) bool {
	// A Timeout of the app's middleware is about what it serves itself: a stream or a poll
	// that is forwarded goes on, as it would here.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	c := &call{to: to, ended: ctx.Done(), end: cancel, said: w.Header()}
	if !f.begin(c) {
		return false
	}
	defer f.done(c)
	c.late = time.AfterFunc(patience, cancel)
	defer c.late.Stop()
	defer context.AfterFunc(r.Context(), func() {
		if !errors.Is(context.Cause(r.Context()), context.DeadlineExceeded) {
			cancel()
		}
	})()
	if r.Method == http.MethodGet {
		rc := http.NewResponseController(w)
		_ = rc.SetWriteDeadline(time.Time{}) // not all writers can
		_ = rc.SetReadDeadline(time.Time{})
	}
	answer := newClient(w, f.config.StuckFor)
	defer answer.leave()
	defer context.AfterFunc(ctx, answer.cut)()
	f.proxy.ServeHTTP(answer, r.WithContext(context.WithValue(ctx, callKey{}, c)))
	switch op, ok := errors.AsType[*net.OpError](c.err); {
	case c.err == nil:
	case ok && op.Op == "dial":
		f.forget(to)
		return false
	case f.over():
		refuse(w, http.StatusServiceUnavailable, errClosed.Error())
	default:
		refuse(w, http.StatusBadGateway, "the node that has this client socket did not answer")
	}
	return true
}

// refuse asks a client to come back.
func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, why, status)
}

// rewrite makes what the other node is sent of what the client has sent.
func (f *Forwarder) rewrite(p *httputil.ProxyRequest) {
	to := p.In.Context().Value(callKey{}).(*call).to
	p.Out.URL = target(to, p.In)
	p.Out.Host = p.In.Host
	f.mark(p.Out.Header, p.In)
}

// target is the URL of a request on another node: middleware may have taken something off
// the path that this node is asked for.
func target(to *url.URL, r *http.Request) *url.URL {
	u := *r.URL
	if whole, err := url.ParseRequestURI(r.RequestURI); err == nil {
		u = *whole
	}
	u.Scheme, u.Host = to.Scheme, to.Host
	return &u
}

// mark says who has forwarded a request, and for whom.
func (f *Forwarder) mark(h http.Header, r *http.Request) {
	h.Set(header, f.config.Self.ID)
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded"} { // as whoever is before this node says
		if values := r.Header.Values(name); len(values) > 0 {
			h[name] = slices.Clone(values)
		}
	}
	if r.TLS != nil && h.Get("X-Forwarded-Proto") == "" { // or a redirect to https would answer
		h.Set("X-Forwarded-Proto", "https")
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h.Add("X-Forwarded-For", host)
	} else if r.RemoteAddr != "" { // a middleware has put the address of the client there
		h.Add("X-Forwarded-For", r.RemoteAddr)
	}
}

// Post sends a POST like r, with another body, to a node, and returns what it answers.
func (f *Forwarder) Post(ctx context.Context, r *http.Request, node string, body []byte) ([]byte, error) {
	to, _ := f.find(ctx, r, node)
	if to == nil {
		return nil, fmt.Errorf("node %q: %w", node, errNoNode)
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &call{to: to, ended: ctx.Done(), end: cancel}
	if !f.begin(c) {
		return nil, fmt.Errorf("node %q: %w", node, errClosed)
	}
	defer f.done(c)
	out := r.Clone(ctx)
	out.RequestURI, out.URL, out.Host = "", target(to, r), r.Host
	out.Body, out.ContentLength, out.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	for _, name := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Accept-Encoding"} {
		out.Header.Del(name)
	}
	f.mark(out.Header, r)
	resp, err := f.config.Transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("node %q: %s", node, resp.Status)
	}
	return data, err
}

var (
	errNoNode = errors.New("is not up, or says not where it is")
	errClosed = errors.New("this node shuts down")
)

// over reports whether nothing is forwarded any more.
func (f *Forwarder) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// forget has a node not dialled for a while: each of the clients of a machine that is lost
// would hold a connection that is begun in vain.
func (f *Forwarder) forget(at *url.URL) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.nodes {
		if p.at == at {
			p.quiet = mono.Now().Add(quiet)
		}
	}
}

// begin reports whether a call may go on. If it does, done is called when it is over.
func (f *Forwarder) begin(c *call) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		c.end()
		return false
	}
	f.calls[c] = struct{}{}
	return true
}

func (f *Forwarder) done(c *call) {
	c.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.calls, c)
}

// find returns where a node is, or nil if a request does not go there. It reports false if
// nobody can say: then the node may be up.
func (f *Forwarder) find(ctx context.Context, r *http.Request, node string) (at *url.URL, certain bool) {
	if node == f.config.Self.ID || r.Header.Get(header) != "" {
		return nil, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		where, listed, age := f.nodes[node], f.known != 0, mono.Now().Sub(f.known)
		switch {
		case listed && (age < hasty || where != nil && age < fresh), where != nil && f.asking != nil:
			return where.url(), f.failed == nil
		case f.asking == nil:
			f.ask(ctx)
			return f.nodes[node].url(), f.failed == nil
		}
		if f.await(ctx, f.asking) != nil {
			return nil, false
		}
	}
}

// await waits for who asks. f.mu is held, and given up meanwhile.
func (f *Forwarder) await(ctx context.Context, asking <-chan struct{}) error {
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-asking:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// place is where a node is, or was.
type place struct {
	at    *url.URL
	heard mono.Instant
	quiet mono.Instant // until when it is not dialled; 0: it is
}

// url is where to dial; nil: nowhere.
func (p *place) url() *url.URL {
	if p == nil || p.quiet != 0 && p.quiet > mono.Now() {
		return nil
	}
	return p.at
}

// ask asks which nodes are up, for all who want to know. One that was is tried for a while
// although nobody names it: it may be the broker that has forgotten it, and to dial in vain
// costs little. f.mu is held, and given up meanwhile.
func (f *Forwarder) ask(ctx context.Context) {
	asking := make(chan struct{})
	f.asking = asking
	defer func() {
		f.asking = nil
		close(asking)
	}()
	list, err := f.list(ctx)
	now := mono.Now()
	f.known, f.failed = now, err
	if err != nil {
		return
	}
	for _, n := range list {
		if at, err := url.Parse(n.URL); err != nil || at.Host == "" {
			continue
		} else if p := f.nodes[n.ID]; p != nil && *p.at == *at {
			p.heard = now
		} else {
			f.nodes[n.ID] = &place{at: at, heard: now}
		}
	}
	maps.DeleteFunc(f.nodes, func(_ string, p *place) bool { return now.Sub(p.heard) > tried })
}

// list asks the broker. Others wait for it too: it does not end with the request of ctx.
func (f *Forwarder) list(ctx context.Context) ([]broker.Node, error) {
	f.mu.Unlock()
	defer f.mu.Lock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialWait)
	defer cancel()
	return f.config.Nodes(ctx)
}

// Drain forwards nothing new, and ends what is under way, one after the other over the window
// for so many or when ctx is done: the clients go on by another node. It waits for none.
func (f *Forwarder) Drain(ctx context.Context, windowOf func(n int) time.Duration) {
	f.mu.Lock()
	f.closed = true
	calls := slices.Collect(maps.Keys(f.calls)) // in any order
	f.mu.Unlock()
	window := windowOf(len(calls))
	start, timer := time.Now(), time.NewTimer(0)
	defer timer.Stop()
	for i, c := range calls {
		timer.Reset(time.Until(start.Add(window * time.Duration(i+1) / time.Duration(len(calls)))))
		select {
		case <-timer.C:
		case <-c.ended:
		case <-ctx.Done():
			window = 0
		}
		c.end()
	}
}

// Wait returns when nothing is forwarded any more, or with the error of ctx.
func (f *Forwarder) Wait(ctx context.Context) error { return f.tasks.Wait(ctx) }
