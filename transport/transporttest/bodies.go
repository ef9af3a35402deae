package transporttest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
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

// early is how long the first part of a body lasts. It may come in several pieces.
const early = 50 * time.Millisecond

func firstWithSecond(body io.ReadCloser) io.ReadCloser {
	return overtaken(body, func(f *flow) func() ([]byte, error) {
		begun := false
		return func() ([]byte, error) {
			piece := f.next()
			part, err := piece.bytes, piece.err
			for first := piece.at; !begun && err == nil; {
				piece = f.next()
				begun = piece.at.Sub(first) > early
				part, err = append(part, piece.bytes...), piece.err
			}
			return part, err
		}
	})
}

func firstThenRest(body io.ReadCloser) io.ReadCloser {
	return overtaken(body, func(f *flow) func() ([]byte, error) {
		var first time.Time
		return func() ([]byte, error) {
			piece := f.next()
			if first.IsZero() {
				first = piece.at
			}
			part, err := piece.bytes, piece.err
			for piece.at.Sub(first) > early && err == nil {
				piece = f.next()
				part, err = append(part, piece.bytes...), piece.err
			}
			return part, err
		}
	})
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

// late delays each piece of a body by a time.
func late(by time.Duration) func(io.ReadCloser) io.ReadCloser {
	return func(body io.ReadCloser) io.ReadCloser {
		return overtaken(body, func(f *flow) func() ([]byte, error) {
			return func() ([]byte, error) {
				piece := f.next()
				if piece.err != nil && !errors.Is(piece.err, io.EOF) {
					return nil, piece.err // a broken connection is told at once
				}
				timer := time.NewTimer(time.Until(piece.at.Add(by)))
				defer timer.Stop()
				select {
				case <-timer.C:
					return piece.bytes, piece.err
				case <-f.closed:
					return nil, errCut
				}
			}
		})
	}
}

// gzipped compresses, as its output buffer fills.
func gzipped(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	accepted := strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	res, err := next.RoundTrip(r)
	if err != nil || !accepted || res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode == http.StatusNoContent {
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
