package server

import (
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	bodyWait      = 10 * time.Second // a body that takes longer is a slow-loris
	bodyEnd       = time.Second      // what may still come of a body that nobody wants
	maxSecretBody = 256
)

// bodies are the requests whose bodies are being read. Net/http waits for the body
// of a request before it answers and again before it closes the connection, for
// ever if nobody sets a deadline. One that does not come must neither keep a
// connection nor hold up a Shutdown.
type bodies struct {
	mu      sync.Mutex                             // guards reading
	reading map[*http.ResponseController]time.Time // when each is due
}

// read reads the body of a request, of at most so many bytes. The error is an
// *http.MaxBytesError, or one of reading.
func (b *bodies) read(w http.ResponseWriter, r *http.Request, most int) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, int64(most)))
}

// bound bounds how long the body of a request may take, before anything else is
// done with that. GiveUp has it fail at once; done is to be called when the request has
// been answered.
func (b *bodies) bound(w http.ResponseWriter) (giveUp func() error, done func()) {
	rc := http.NewResponseController(w)
	due := time.Now().Add(bodyWait)
	_ = rc.SetReadDeadline(due) // not all writers can
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading == nil {
		b.reading = map[*http.ResponseController]time.Time{}
	}
	b.reading[rc] = due
	giveUp = func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, reading := b.reading[rc]; !reading {
			return nil
		}
		b.reading[rc] = time.Now()
		return rc.SetReadDeadline(b.reading[rc])
	}
	return giveUp, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.hurry(rc)
		delete(b.reading, rc)
	}
}

// cut gives what is being read little more time. Its client has been drained.
func (b *bodies) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for rc := range b.reading {
		b.hurry(rc)
	}
}

// hurry makes it due soon, if it is not sooner. b.mu is held: afterwards the request
// may be answered, and its ResponseController no longer be used.
func (b *bodies) hurry(rc *http.ResponseController) {
	if soon := time.Now().Add(bodyEnd); soon.Before(b.reading[rc]) {
		b.reading[rc] = soon
		_ = rc.SetReadDeadline(soon)
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
