package server

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

const (
	bodyWait      = 10 * time.Second // a body that takes longer is a slow-loris
	maxSecretBody = 256
)

// ServePost answers POST {mount}/sse: frames of a client whose other half is a
// stream. A batch is applied whole or not at all, once, in its place.
func (s *Server) ServePost(w http.ResponseWriter, r *http.Request) {
	boundBody(w)
	if !s.fromHere(w, r) {
		return
	}
	secret := r.Header.Get(headerSecret)
	if secret == "" {
		refuseBatch(w, &wire.BatchError{Reason: "no " + headerSecret + " header"})
		return
	}
	if s.isDraining() { // not the end of the client socket: it comes on the stream
		busy(w, http.StatusServiceUnavailable, errDraining.Error())
		return
	}
	id, refused := s.identify(r, secret)
	if refused != nil {
		turnAway(w, refused)
		return
	}
	c := s.find(secret)
	if c == nil {
		refuseGone(w)
		return
	}
	if !owns(w, id, c) {
		return
	}
	c.refresh(id.Expires)
	// Read before the lock: a slow body must not hold up other POSTs.
	body, err := readBody(w, r, s.limits.BatchBytes)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			refuse(w, http.StatusRequestEntityTooLarge, "batch is over "+strconv.Itoa(s.limits.BatchBytes)+" bytes")
			return
		}
		refuseBatch(w, &wire.BatchError{Reason: "body could not be read"})
		return
	}
	batch, err := wire.DecodeBatch(body, s.limits.BatchMessages, s.limits.MessageBytes)
	if err != nil {
		wrong, ok := errors.AsType[*wire.BatchError](err)
		if !ok {
			wrong = &wire.BatchError{Reason: "malformed"}
		}
		refuseBatch(w, wrong)
		return
	}
	s.apply(w, c, secret, batch)
}

// apply hands on the frames that are new. Of two POSTs at once the second
// finds the first one's frames applied and skips them.
func (s *Server) apply(w http.ResponseWriter, c *client, secret string, batch wire.Batch) {
	c.upstream.Lock()
	n, err := c.use(secret, batch.Received)
	if err != nil {
		c.upstream.Unlock()
		if errors.Is(err, errBeyond) {
			refuseBatch(w, &wire.BatchError{Reason: err.Error()})
			return
		}
		refuseGone(w)
		return
	}
	if want := c.received.Load() + 1; batch.First > want {
		c.upstream.Unlock()
		answer(w, http.StatusConflict, struct {
			Want uint64 `json:"want"`
		}{want})
		return
	}
	number := batch.First
	for _, f := range batch.Frames {
		switch {
		case f.Topic == wire.TopicChime:
			_ = c.control(n, f) // the batch has been acknowledged as a whole
		case !wire.Counted(f.Topic):
			c.deliver(f)
		default:
			if number > c.received.Load() {
				c.received.Store(number)
				c.deliver(f)
			}
			number++
		}
	}
	applied := c.received.Load()
	c.upstream.Unlock()
	c.mu.Lock()
	sent := c.queue.sent()
	c.mu.Unlock()
	answer(w, http.StatusOK, struct {
		Applied uint64 `json:"applied"`
		Sent    uint64 `json:"sent"`
	}{applied, sent})
}

func refuseGone(w http.ResponseWriter) {
	refuse(w, http.StatusGone, errNotKnown.Error())
}

func refuseBatch(w http.ResponseWriter, e *wire.BatchError) {
	answer(w, http.StatusBadRequest, struct {
		Frame  int    `json:"frame"`
		Reason string `json:"reason"`
	}{e.Frame, e.Reason})
}

// ServeBye answers POST {mount}/bye, which a page sends as a beacon when it
// goes. A beacon can set no header, so the secret is the body; in return this
// can do nothing but leave, and tells nothing.
func (s *Server) ServeBye(w http.ResponseWriter, r *http.Request) {
	boundBody(w)
	if !s.fromHere(w, r) {
		return
	}
	body, err := readBody(w, r, maxSecretBody)
	if err == nil {
		secret := strings.TrimSpace(string(body))
		if c := s.find(secret); c != nil && c.admits(secret) {
			c.Close(wire.CloseNormal, "bye", transport.Closed)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// boundBody bounds how long a body may take, also of a request that is refused
// before it is read: net/http would wait for it.
func boundBody(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWait)) // not all writers can
}

func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
}
