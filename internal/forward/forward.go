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
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/task"
)

const (
	// dialWait is how long it may take to connect with a node.
	dialWait = 2 * time.Second

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
	// Unreached is told of a node that can't be reached, and why; nil: nobody is.
	Unreached func(id, at string, why error)
}

// Forwarder sends requests to other nodes. Its methods are safe for concurrent use.
type Forwarder struct {
	config Config
	proxy  *httputil.ReverseProxy
	tasks  task.Group
	nodes  nodes

	mu     sync.Mutex // guards what follows
	closed bool
	calls  map[*call]struct{} // that are under way
}

// New returns a Forwarder. It must be drained.
func New(cfg Config) *Forwarder {
	if cfg.Transport == nil {
		cfg.Transport = Plain()
	}
	if cfg.Unreached == nil {
		cfg.Unreached = func(string, string, error) {}
	}
	f := &Forwarder{config: cfg, calls: map[*call]struct{}{}}
	f.nodes = nodes{list: cfg.Nodes, tasks: &f.tasks, places: map[string]*place{}}
	f.proxy = &httputil.ReverseProxy{
		Rewrite:       f.rewrite,
		Transport:     trips{cfg.Transport},
		BufferPool:    buffers{},
		FlushInterval: -1, // frames are small, and come when they come
		ErrorHandler:  func(_ http.ResponseWriter, r *http.Request, err error) { callOf(r).err = err },
		ErrorLog:      log.New(io.Discard, "", 0), // what fails is answered
	}
	return f
}

// Plain reaches nodes by HTTP/1.1: what a client does not read waits in its connection,
// and not in the memory of this node as with HTTP/2. It is no copy of the default transport,
// which an application may have replaced, and which offers HTTP/2 when TLS begins.
func Plain() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialWait, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   dialWait,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		ReadBufferSize:        2 << 10, // of each stream, for hours
		WriteBufferSize:       1 << 10,
		DisableCompression:    true, // the client says what it can read
	}
}

// Serve has the node with an ID answer r, and reports whether it, or the attempt, did. If not
// nothing was written, and the body may be closed: the node is this one, is not up or can't
// be reached, or the request was forwarded before.
func (f *Forwarder) Serve(w http.ResponseWriter, r *http.Request, node string) (answered bool) {
	to, certain := f.find(r.Context(), r, node)
	switch {
	case !certain && to == nil: // a client socket that is there must not be taken to be gone
		refuse(w, http.StatusServiceUnavailable, "it is not known where this client socket is")
		return true
	case to == nil:
		return false
	}
	f.tasks.Do(func() { answered = f.serve(w, r, to) })
	return answered
}

// find returns where a request goes, as nodes.find does.
func (f *Forwarder) find(ctx context.Context, r *http.Request, node string) (to *place, certain bool) {
	if node == f.config.Self.ID || r.Header.Get(header) != "" {
		return nil, true
	}
	return f.nodes.find(ctx, node)
}

func (f *Forwarder) serve(w http.ResponseWriter, r *http.Request, to *place) bool {
	// A Timeout of the app's middleware is about what it serves itself: a stream or a poll
	// that is forwarded goes on, as it would here.
	c := newCall(context.WithoutCancel(r.Context()), to)
	defer c.late.Stop()
	c.said = w.Header()
	if !f.begin(c) {
		return false
	}
	defer f.done(c)
	defer context.AfterFunc(r.Context(), func() {
		if !errors.Is(context.Cause(r.Context()), context.DeadlineExceeded) {
			c.end()
		}
	})()
	if r.Method == http.MethodGet || isConnect(r) {
		rc := http.NewResponseController(w)
		_ = rc.SetWriteDeadline(time.Time{}) // not all writers can
		_ = rc.SetReadDeadline(time.Time{})
	}
	answer := newClient(w, f.config.StuckFor, c)
	defer answer.leave()
	defer context.AfterFunc(c.ctx, answer.cut)()
	if isConnect(r) {
		f.connect(answer, r, c)
	} else {
		f.proxy.ServeHTTP(answer, r.WithContext(c.ctx))
	}
	switch {
	case c.err == nil:
	case c.unsent():
		f.nodes.rest(to)
		f.config.Unreached(to.id, to.at.String(), c.err)
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
	p.Out.URL = target(callOf(p.In).to, p.In)
	p.Out.Host = p.In.Host
	f.mark(p.Out.Header, p.In, callOf(p.In).to)
}

// target is the URL of a request on another node: middleware may have taken something off
// the path that this node is asked for.
func target(to *place, r *http.Request) *url.URL {
	u := *r.URL
	if whole, err := url.ParseRequestURI(r.RequestURI); err == nil {
		u = *whole
	}
	u.Scheme, u.Host = to.at.Scheme, to.at.Host
	return &u
}

// Post sends a POST like r, with another body, to a node, and returns what it answers.
func (f *Forwarder) Post(ctx context.Context, r *http.Request, node string, body []byte) ([]byte, error) {
	to, _ := f.find(ctx, r, node)
	if to == nil {
		return nil, fmt.Errorf("node %q: %w", node, errNoNode)
	}
	c := newCall(ctx, to)
	defer c.late.Stop()
	if !f.begin(c) {
		return nil, fmt.Errorf("node %q: %w", node, errClosed)
	}
	defer f.done(c)
	out := f.outgoing(c, r)
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	out.Header.Del("Accept-Encoding")
	resp, err := f.proxy.Transport.RoundTrip(out)
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

// hops are headers that are for one connection.
var hops = []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

// outgoing is the request of a call that is made of r without ReverseProxy.
func (f *Forwarder) outgoing(c *call, r *http.Request) *http.Request {
	out := r.Clone(c.ctx)
	out.RequestURI, out.URL, out.Host, out.TransferEncoding = "", target(c.to, r), r.Host, nil
	for _, name := range hops {
		out.Header.Del(name)
	}
	f.mark(out.Header, r, c.to)
	return out
}

var (
	errNoNode = errors.New("is not up, or says not where it is")
	errClosed = errors.New("this node shuts down")
)
