package server

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"testing"
)

func TestHeadersOfAStream(t *testing.T) {
	want := http.Header{
		"Content-Type":           {"text/event-stream"},
		"Cache-Control":          {"no-cache, no-store, no-transform"},
		"X-Accel-Buffering":      {"no"},
		"Content-Encoding":       {"identity"},
		"X-Content-Type-Options": {"nosniff"},
		"Vary":                   {"Accept", "Origin"},
		"Connection":             {"close"},
	}
	same := func(a, b []string) bool { return len(a) == len(b) && (len(a) == 0 || a[len(a)-1] == b[len(b)-1]) }
	h := http.Header{"Vary": {"Accept"}, "Content-Type": {"text/html"}}
	streamHeaders(h, 1)
	if !maps.EqualFunc(h, want, same) {
		t.Errorf("HTTP/1: got %v, want %v", h, want)
	}
	delete(want, "Connection") // on HTTP/2 it would end the connection of other requests
	h = http.Header{"Vary": {"Accept"}}
	streamHeaders(h, 2)
	if !maps.EqualFunc(h, want, same) {
		t.Errorf("HTTP/2: got %v, want %v", h, want)
	}
}

// Writers of middleware, of all kinds.
type (
	mute           struct{ http.ResponseWriter }       // can do nothing more
	flusherOnly    struct{ mute }                      // has Flush
	flusherError   struct{ mute }                      // has FlushError
	unwrapping     struct{ inner http.ResponseWriter } // has Unwrap
	flushIsAllTalk struct{ unwrapping }                // has Flush too, whatever is inside
)

func (flusherOnly) Flush()                       {}
func (flusherError) FlushError() error           { return nil }
func (flushIsAllTalk) Flush()                    {}
func (w unwrapping) Unwrap() http.ResponseWriter { return w.inner }
func (w unwrapping) Header() http.Header         { return w.inner.Header() }
func (w unwrapping) Write(b []byte) (int, error) { return w.inner.Write(b) }
func (w unwrapping) WriteHeader(status int)      { w.inner.WriteHeader(status) }

func TestWhatKeepsAWriterFromFlushing(t *testing.T) {
	for _, test := range []struct {
		name string
		w    http.ResponseWriter
		want string
	}{
		{"Flush", flusherOnly{}, ""},
		{"FlushError", flusherError{}, ""},
		{"neither", mute{}, "server.mute"},
		{"Unwrap to Flush", unwrapping{flusherOnly{}}, ""},
		{"Unwrap twice", unwrapping{unwrapping{flusherError{}}}, ""},
		{"Unwrap to neither", unwrapping{unwrapping{mute{}}}, "server.mute"},
		{"a Flush around a writer that can't", flushIsAllTalk{unwrapping{mute{}}}, "server.mute"},
		{"httptest's", httptest.NewRecorder(), ""},
	} {
		if got := cannotFlush(test.w); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	for w, want := range map[http.ResponseWriter]string{
		flusherOnly{}:             "server.flusherOnly",
		unwrapping{flusherOnly{}}: "server.flusherOnly",
	} {
		if got := cannotHijack(w); got != want {
			t.Errorf("hijacking %T: got %q, want %q", w, got, want)
		}
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("data: 1\n\n"), 1, true)
	f.Add(bytes.Repeat([]byte("x"), 70_000), 16, false)
	f.Add([]byte("0\r\n\r\n"), 3, true)
	f.Fuzz(func(t *testing.T, body []byte, pieces int, last bool) {
		if len(body) == 0 {
			return // nothing is never written: an empty chunk is the last
		}
		pieces = max(1, min(pieces, 16, len(body)))
		for _, chunked := range []bool{true, false} {
			l := &streamLine{chunked: chunked}
			var all []byte
			for i := range pieces {
				piece := body[i*len(body)/pieces : (i+1)*len(body)/pieces]
				all = append(all, l.Seal(append(l.Open(nil), piece...), last && i == pieces-1)...)
			}
			got, err := all, error(nil)
			if chunked {
				if !last {
					all = append(all, "0\r\n\r\n"...)
				}
				rest := bytes.NewReader(all)
				got, err = io.ReadAll(httputil.NewChunkedReader(rest))
				if rest.Len() > len("\r\n") { // which the reader leaves to its caller
					t.Errorf("%d bytes behind the last chunk", rest.Len())
				}
			}
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("chunked %v: got %d bytes and error %v, want the %d that were sealed", chunked, len(got), err, len(body))
			}
		}
	})
}
