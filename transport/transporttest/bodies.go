package transporttest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// bodies has f take the place of the body of each answer.
func bodies(f func(io.ReadCloser) io.ReadCloser) carrier {
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		res, err := next.RoundTrip(r)
		if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
			res.Body = f(res.Body)
		}
		return res, err
	}
}

// streams is bodies for those that are event streams.
func streams(f func(io.ReadCloser) io.ReadCloser) carrier {
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		res, err := next.RoundTrip(r)
		if err == nil && strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
			res.Body = f(res.Body)
		}
		return res, err
	}
}

// parts is a body that is passed on in other parts than it came: gather reads from
// the body what is to be passed on next. Its error ends it.
type parts struct {
	io.ReadCloser
	gather func(io.Reader) ([]byte, error)
	ready  []byte
	err    error
}

func (b *parts) Read(p []byte) (int, error) {
	for len(b.ready) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.ready, b.err = b.gather(b.ReadCloser)
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	return n, nil
}

// one is what comes at one time.
func one(from io.Reader) ([]byte, error) {
	buf := make([]byte, 32<<10)
	n, err := from.Read(buf)
	return buf[:n], err
}

func inBlocks(body io.ReadCloser) io.ReadCloser {
	return &parts{ReadCloser: body, gather: func(from io.Reader) ([]byte, error) {
		block := make([]byte, 4<<10)
		n, err := io.ReadFull(from, block)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return block[:n], err
	}}
}

func firstWithSecond(body io.ReadCloser) io.ReadCloser {
	begun := false
	return &parts{ReadCloser: body, gather: func(from io.Reader) ([]byte, error) {
		first, err := one(from)
		if begun || err != nil {
			return first, err
		}
		begun = true
		second, err := one(from)
		return append(first, second...), err
	}}
}

func firstThenRest(body io.ReadCloser) io.ReadCloser {
	begun := false
	return &parts{ReadCloser: body, gather: func(from io.Reader) ([]byte, error) {
		if !begun {
			begun = true
			return one(from)
		}
		rest, err := io.ReadAll(from)
		if err == nil {
			err = io.EOF
		}
		return rest, err
	}}
}

// whole reads an answer before anything of it is passed on.
func whole(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	res, err := next.RoundTrip(r)
	if err != nil || res.StatusCode == http.StatusSwitchingProtocols {
		return res, err
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(all))
	return res, nil
}

// late delays each part of a body by a time.
func late(by time.Duration) func(io.ReadCloser) io.ReadCloser {
	return func(body io.ReadCloser) io.ReadCloser {
		d := &delayed{body: body, coming: make(chan delivery, 1000), closed: make(chan struct{})}
		go d.take(by)
		return &parts{ReadCloser: d, gather: func(io.Reader) ([]byte, error) { return d.next() }}
	}
}

// delayed is a body between the server, from which take reads, and the client.
type delayed struct {
	body   io.ReadCloser
	coming chan delivery
	closed chan struct{}
	once   sync.Once
}

// delivery is a part of a body, or its end, and when it is due.
type delivery struct {
	part []byte
	err  error
	due  time.Time
}

func (d *delayed) take(by time.Duration) {
	for {
		part, err := one(d.body)
		select {
		case d.coming <- delivery{part, err, time.Now().Add(by)}:
		case <-d.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

func (d *delayed) next() ([]byte, error) {
	select {
	case next := <-d.coming:
		timer := time.NewTimer(time.Until(next.due))
		defer timer.Stop()
		select {
		case <-timer.C:
			return next.part, next.err
		case <-d.closed:
		}
	case <-d.closed:
	}
	return nil, net.ErrClosed
}

func (d *delayed) Read([]byte) (int, error) { return 0, io.EOF }

func (d *delayed) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.body.Close()
}

// gzipped compresses, as its output buffer fills.
func gzipped(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	accepted := strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	res, err := next.RoundTrip(r)
	if err != nil || !accepted || res.StatusCode == http.StatusSwitchingProtocols {
		return res, err
	}
	out := &bytes.Buffer{}
	to := gzip.NewWriter(out)
	res.Header.Set("Content-Encoding", "gzip")
	res.Header.Del("Content-Length")
	res.ContentLength = -1
	res.Body = &parts{ReadCloser: res.Body, gather: func(from io.Reader) ([]byte, error) {
		part, err := one(from)
		_, _ = to.Write(part) // into memory
		if err != nil {
			_ = to.Close()
		}
		return bytes.Clone(out.Next(out.Len())), err
	}}
	return res, nil
}

// ownAnswers is the fetch handler of a service worker that reads the answer, and makes
// another.
func ownAnswers(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	res, err := whole(r, next)
	switch {
	case err != nil:
		res = answer(r, http.StatusServiceUnavailable, "you are offline")
	case res.StatusCode != http.StatusSwitchingProtocols:
		res.Header = http.Header{"Content-Type": res.Header["Content-Type"]}
	}
	return res, nil
}
