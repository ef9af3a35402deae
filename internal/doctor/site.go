package doctor

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-chime/chime/transport"
)

// site is the server as a client here sees it: how it is asked, and what connections to it
// there are.
type site struct {
	Config
	base    *url.URL
	ctx     context.Context
	working sync.WaitGroup // what reads connections

	foreign    bool     // the server does not take the origin of its own pages for its own
	transports []string // that the server speaks; nil: no hello has said so
}

// offers reports whether the server speaks a transport, as far as it has said.
func (s *site) offers(kind string) bool {
	return s.transports == nil || slices.Contains(s.transports, kind)
}

// client has a connection for each request. A WebSocket needs HTTP/1.
func (s *site) client(http1 bool) *http.Client {
	pool := &http.Transport{
		DialContext:        s.Dial,
		DisableCompression: true,
		DisableKeepAlives:  true, // a box may have room for few connections
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: s.Insecure},
		Protocols:          &http.Protocols{},
	}
	pool.Protocols.SetHTTP1(true)
	pool.Protocols.SetHTTP2(!http1)
	return &http.Client{Transport: pool, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// request is one of a client of the server: with its token, and as a page of the
// server's own origin.
func (s *site) request(ctx context.Context, method, path, body string, header ...string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, s.base.JoinPath(path).String(), strings.NewReader(body))
	if err != nil {
		panic("chime: doctor: " + err.Error()) // of a method or a URL that was good before
	}
	if body == "" {
		r.Body, r.ContentLength = nil, 0
	}
	if s.Token != "" {
		r.Header.Set("Authorization", "Bearer "+s.Token)
	}
	if !s.foreign {
		r.Header.Set("Origin", s.base.Scheme+"://"+s.base.Host)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// ask sends a request and reads its answer to the end.
func (s *site) ask(client *http.Client, method, path, body string, header ...string) head {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	start := time.Now()
	res, err := client.Do(s.request(ctx, method, path, body, header...))
	if err != nil {
		return head{err: err, after: time.Since(start)}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 256<<10))
	if err != nil && ctx.Err() != nil {
		return head{err: ctx.Err(), after: time.Since(start)}
	}
	return head{status: res.StatusCode, header: res.Header, proto: res.Proto, body: string(text), after: time.Since(start)}
}

// open opens a connection of one kind, up to its hello; nil if that does not come.
func (s *site) open(kind string) (c *conn) {
	if kind == transport.WebSocket {
		c, _ = s.openWebSocket()
	} else {
		c, _ = s.openStream(patience)
	}
	if c != nil && !c.greeted(patience) {
		c.abort()
		return nil
	}
	return c
}
