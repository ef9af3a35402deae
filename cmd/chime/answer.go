package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// once is the library's retry strategy: none, see connect.
type once struct{}

func (once) NextBackOff() time.Duration { return -1 } // its word for stop
func (once) Reset()                     {}

// checkAnswer says what is wrong with an answer that is no event stream, and
// whether it is worth asking again.
func (f *follower) checkAnswer(resp *http.Response) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK {
		if kind == "text/event-stream" {
			return nil
		}
		return fatal{fmt.Errorf("--url %s: got %q: want an event stream, from the URL at which a router is mounted", f.mount, kind)}
	}
	reason := reasonIn(resp)
	err := fmt.Errorf("%s answers %s%s", f.url, resp.Status, reason)
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		// A busy server, or a proxy whose server restarts.
		if seconds, bad := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 32); bad == nil {
			f.ask(seconds * 1000)
		}
		return err
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		err = fmt.Errorf("--url %s: %s to %q: want the URL that it leads to", f.mount, resp.Status, resp.Header.Get("Location"))
	case http.StatusNotFound:
		err = fmt.Errorf("--url %s: %s%s: want the URL at which a router is mounted", f.mount, resp.Status, reason)
	case http.StatusUnauthorized, http.StatusForbidden:
		remedy := "set " + tokenVariable + " if the server wants a token"
		if f.token != "" {
			remedy = "check the token in " + tokenVariable
		}
		err = fmt.Errorf("%w: %s", err, remedy)
	}
	return fatal{err}
}

// reasonIn is ": why" from a short body: chime's JSON, or the first line.
func reasonIn(resp *http.Response) string {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what came of it will do
	if why := reasonOf(body); why != "" || json.Valid(body) {
		return why
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if line == "" || strings.HasPrefix(line, "<") {
		return ""
	}
	return ": " + strings.TrimSpace(line)
}

// watched is the body of a stream, with two faults cured: a connection that
// went dead without a word would be waited on for ever, and the library takes
// what was cut off in mid-event for an event.
type watched struct {
	io.ReadCloser
	quiet *time.Timer
	last  byte   // read from the stream
	end   error  // of the stream
	extra []byte // given to the reader between the two
}

var errQuiet = fmt.Errorf("the server sent nothing for %v", quietTime)

// watch ends the connection, by cancel, when nothing comes for quietTime.
func watch(body io.ReadCloser, cancel context.CancelCauseFunc) *watched {
	return &watched{
		ReadCloser: body,
		quiet:      time.AfterFunc(quietTime, func() { cancel(errQuiet) }),
		last:       '\n',
	}
}

// Read ends a torn event with a line that gives it a type, as no frame has, so
// that take leaves it alone. The server sends it again: its id did not count.
func (w *watched) Read(p []byte) (int, error) {
	if w.end == nil {
		n, err := w.ReadCloser.Read(p)
		if n > 0 {
			w.quiet.Reset(quietTime)
			w.last = p[n-1]
		}
		if err == nil {
			return n, nil
		}
		w.end = err
		if w.extra = []byte("event: torn\n\n"); w.last != '\n' {
			w.extra = append([]byte("\n"), w.extra...)
		}
		if n > 0 {
			return n, nil
		}
	}
	n := copy(p, w.extra)
	if w.extra = w.extra[n:]; n > 0 {
		return n, nil
	}
	return 0, w.end
}

// Close stops the watch.
func (w *watched) Close() error {
	w.quiet.Stop()
	return w.ReadCloser.Close()
}
