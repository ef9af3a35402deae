package server

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	bodyWait      = 10 * time.Second // a body that takes longer is a slow-loris
	bodyEnd       = time.Second      // what may still come of a body that nobody wants
	maxSecretBody = 256
)

// errTooMuch is an error of body.read.
var errTooMuch = errors.New("body is too large")

// bodies are the requests whose bodies are being read. Net/http waits for the body
// of a request before it answers and again before it closes the connection, for
// ever if nobody sets a deadline. One that does not come must neither keep a
// connection nor hold up a Shutdown.
type bodies struct {
	mu      sync.Mutex // guards reading, and when each is due
	reading map[*body]struct{}
}

// body is that of one request: how long it may take, and what has come of it.
type body struct {
	of  *bodies
	w   http.ResponseWriter
	rc  *http.ResponseController
	r   *http.Request
	due time.Time // guarded by that of all
	buf buffer
}

// bound bounds how long the body of a request may take, before anything else is
// done with that. Done is to be called when the request has been answered.
func (b *bodies) bound(w http.ResponseWriter, r *http.Request) *body {
	this := &body{of: b, w: w, rc: http.NewResponseController(w), r: r, due: time.Now().Add(bodyWait)}
	_ = this.rc.SetReadDeadline(this.due) // not all writers can
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading == nil {
		b.reading = map[*body]struct{}{}
	}
	b.reading[this] = struct{}{}
	return this
}

// most is how many bytes may come, of at most so many: as many as the head says, if it
// says it. It reports false if that is more.
func (b *body) most(allowed int) (size int, fits bool) {
	switch n := b.r.ContentLength; {
	case n < 0:
		return allowed, true
	default:
		return int(min(n, int64(allowed))), n <= int64(allowed)
	}
}

// read returns the body, of at most so many bytes, which is good until done. On an error
// it returns what has come; that is errTooMuch, or one of reading.
func (b *body) read(allowed int) ([]byte, error) {
	if _, fits := b.most(allowed); !fits {
		return nil, errTooMuch
	}
	for n := 0; ; {
		b.buf.grow(n, allowed)
		k, err := b.r.Body.Read(b.buf.bytes[n:])
		_, tooMuch := errors.AsType[*http.MaxBytesError](err) // of a middleware
		switch n += k; {
		case n > allowed, tooMuch:
			return b.buf.bytes[:min(n, allowed)], errTooMuch
		case err == io.EOF:
			return b.buf.bytes[:n], nil
		case err != nil:
			return b.buf.bytes[:n], err
		}
	}
}

// refuse leaves the rest of the body where it is, and has net/http close the connection
// once the client can have read why, unless all of the body came with the head. With bytes
// that nobody read, a connection that is closed at once is reset, and a client that still
// writes, or whose system forgets what came before a reset, never sees its answer.
func (b *body) refuse() {
	err := b.giveUp()
	if err == nil {
		_, err = io.Copy(io.Discard, b.r.Body)
	}
	if err != nil {
		closeLate(b.w)
	}
}

// closeLate tells net/http that a body is too large. It is the way to have it wait a
// while before it closes, and takes a reader for it that has read too much.
func closeLate(w http.ResponseWriter) {
	for {
		inner, wrapped := w.(interface{ Unwrap() http.ResponseWriter })
		if !wrapped {
			break
		}
		w = inner.Unwrap()
	}
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
}

// giveUp has the body fail at once. Nothing more of it is read, nor by net/http before it
// answers.
func (b *body) giveUp() error {
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	if _, reading := b.of.reading[b]; !reading {
		return nil
	}
	b.due = time.Now()
	return b.rc.SetReadDeadline(b.due)
}

// done gives up what has not come soon.
func (b *body) done() {
	b.of.mu.Lock()
	b.hurry()
	delete(b.of.reading, b)
	b.of.mu.Unlock()
	b.buf.release()
}

// cut gives what is being read little more time. Its client has been drained.
func (b *bodies) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for one := range b.reading {
		one.hurry()
	}
}

// hurry makes it due soon, if it is not sooner. The lock of all is held: afterwards the
// request may be answered, and its ResponseController no longer be used.
func (b *body) hurry() {
	if soon := time.Now().Add(bodyEnd); soon.Before(b.due) {
		b.due = soon
		_ = b.rc.SetReadDeadline(soon)
	}
}

// DropBody is for a request whose body nobody wants: it may come, but is not waited
// for.
func DropBody(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyEnd))
	w.Header().Set("Connection", "close")
}

// RefuseBody answers a request that must have none.
func RefuseBody(w http.ResponseWriter) {
	refuse(w, http.StatusBadRequest, "the request has a body: want none here")
}
