package transporttest

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// withoutUpgrade leaves the answer to the server.
func withoutUpgrade(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	if r.Header.Get("Upgrade") != "" {
		r.Header.Del("Upgrade")
		r.Header.Del("Connection")
	}
	return next.RoundTrip(r)
}

// refusedUpgrade answers in the name of a proxy that wants a password, of one that
// forbids, and of one that shows its own page.
func refusedUpgrade() carrier {
	var count atomic.Int64
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Header.Get("Upgrade") == "" {
			return next.RoundTrip(r)
		}
		switch count.Add(1) % 3 {
		case 1:
			res := answer(r, http.StatusProxyAuthRequired, "who are you?")
			res.Header.Set("Proxy-Authenticate", "Basic")
			return res, nil
		case 2:
			return answer(r, http.StatusForbidden, "not from here"), nil
		}
		return answer(r, http.StatusOK, "log in first"), nil
	}
}

// answer is a page of the box's own.
func answer(r *http.Request, status int, text string) *http.Response {
	page := "<!doctype html><title>" + text + "</title>\n"
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header:        http.Header{"Content-Type": {"text/html"}, "Via": {"1.1 gateway"}, "Server": {"gateway"}},
		ContentLength: int64(len(page)), Body: io.NopCloser(strings.NewReader(page)),
	}
}

// sockets has f take the place of the connection to the server of each WebSocket.
func sockets(f func(io.ReadWriteCloser) io.ReadWriteCloser) carrier {
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		res, err := next.RoundTrip(r)
		if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
			if server, ok := res.Body.(io.ReadWriteCloser); ok {
				res.Body = f(server)
			}
		}
		return res, err
	}
}

var (
	deafWebSocket = sockets(func(server io.ReadWriteCloser) io.ReadWriteCloser { return deaf{server} })
	muteWebSocket = sockets(func(server io.ReadWriteCloser) io.ReadWriteCloser { return mute{server} })
)

// deaf is a server of which nothing is heard.
type deaf struct{ io.ReadWriteCloser }

func (d deaf) Read(p []byte) (int, error) {
	for {
		if _, err := d.ReadWriteCloser.Read(p); err != nil {
			return 0, err
		}
	}
}

// mute is a server that hears nothing.
type mute struct{ io.ReadWriteCloser }

func (mute) Write(p []byte) (int, error) { return len(p), nil }

// youngWebSocket cuts a WebSocket at a random time between the two.
func youngWebSocket(from, to time.Duration) carrier {
	return sockets(func(server io.ReadWriteCloser) io.ReadWriteCloser {
		return newLease(server, 0, from+rand.N(to-from))
	})
}
