package transporttest

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// conduct is what a box does. The zero value passes everything on.
type conduct struct {
	carry  func(server http.RoundTripper) http.RoundTripper // requests and their answers
	room   int                                              // connections of clients at a time; 0 is any number
	silent time.Duration                                    // after which such a connection carries nothing; 0 is never
	http10 bool
	tls    bool // and HTTP/2
}

// Box is a running Network. Clients connect to its URL: of a network with TLS that
// begins with https, and the certificate is that of net/http/httptest.
type Box struct {
	URL string

	target  *url.URL
	carrier http.RoundTripper
	pool    *http.Transport
	gate    *gate
	server  *httptest.Server
	ctx     context.Context // of all that it carries
	end     context.CancelFunc
	working sync.WaitGroup // requests, those that have become WebSockets too
}

// errNoAnswer has a box close the connection of a client instead of answering.
var errNoAnswer = errors.New("no answer")

// Start runs a box on a free port of 127.0.0.1, in front of the server at an URL such as
// http://127.0.0.1:4000. It panics where the URL is none, or nothing can listen. The
// caller closes the box.
func (n Network) Start(server string) *Box {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("transporttest: " + err.Error())
	}
	return n.Serve(l, server, (&net.Dialer{}).DialContext)
}

// Serve is Start for a listener of the caller's, which the box closes, and a server that
// dial connects to. Both may be in memory: then a box works in a bubble of
// testing/synctest.
func (n Network) Serve(l net.Listener, server string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Box {
	target, err := url.Parse(server)
	if err != nil || target.Scheme != "http" || target.Host == "" {
		panic("transporttest: server: got " + server + ": want http and a host, as in http://127.0.0.1:4000")
	}
	c := n.conduct(n)
	b := &Box{target: target, pool: &http.Transport{DialContext: dial, DisableCompression: true}, gate: newGate(l, c)}
	b.carrier = b.pool
	if c.carry != nil {
		b.carrier = c.carry(b.pool)
	}
	b.ctx, b.end = context.WithCancel(context.Background())
	answer := b.proxy().ServeHTTP
	if c.http10 {
		answer = b.answerInHTTP10
	}
	quiet := log.New(io.Discard, "", 0)
	b.server = &httptest.Server{Listener: b.gate, EnableHTTP2: c.tls, Config: &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.working.Add(1)
		defer b.working.Done()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(b.ctx, cancel)()
		answer(w, r.WithContext(ctx))
	})}}
	if c.tls {
		b.server.StartTLS()
	} else {
		b.server.Start()
	}
	b.URL = b.server.URL
	return b
}

func (b *Box) proxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = b.target.Scheme, b.target.Host },
		Transport:     b.carrier,
		FlushInterval: -1, // what may pass does so at once
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, errNoAnswer) {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}

// answerInHTTP10 takes over the connection: net/http answers in the version of the
// request.
func (b *Box) answerInHTTP10(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.RequestURI = b.target.Scheme, b.target.Host, ""
	res, err := b.carrier.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	b.working.Go(func() { // a client that goes is noticed before the next write
		_, _ = io.Copy(io.Discard, conn)
		cancel()
	})
	defer conn.Close()
	res.Proto, res.ProtoMajor, res.ProtoMinor, res.Close = "HTTP/1.0", 1, 0, true
	_ = res.Write(conn) // it may have gone
}

// Close cuts all connections, and returns when nothing of the box is left.
func (b *Box) Close() {
	b.end()
	b.gate.cut()
	b.server.Close()
	b.working.Wait()
	b.pool.CloseIdleConnections()
}
