package server

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
)

// ServePost answers POST {mount}/sse: frames of a client whose other half is a
// stream. A batch is applied whole or not at all, once, in its place.
func (s *Server) ServePost(w http.ResponseWriter, r *http.Request) {
	giveUp, done := s.bodies.bound(w)
	defer done()
	if !s.admission.origin(w, r) {
		return
	}
	secret := r.Header.Get(headerSecret)
	if secret == "" {
		refuseBatch(w, &wire.BatchError{Reason: "no " + headerSecret + " header"})
		return
	}
	from, refused := s.admission.post(r, secret)
	if refused != nil {
		refuseWith(w, refused)
		return
	}
	c := from.former
	if c == nil {
		refuse(w, http.StatusGone, clientsocket.ErrUnknown.Error())
		return
	}
	this, only := s.posts.begin(secret, giveUp)
	if !only {
		s.second(w)
		return
	}
	defer s.posts.end(secret, this)
	// Read before the lock: a slow body must not hold up other POSTs.
	body, err := s.bodies.read(w, r, s.limits.BatchBytes)
	if !s.posts.come(this) {
		s.second(w)
		return
	}
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			refuse(w, http.StatusRequestEntityTooLarge, "batch is over "+strconv.Itoa(s.limits.BatchBytes)+" bytes")
			return
		}
		refuseBatch(w, &wire.BatchError{Reason: "body could not be read"})
		return
	}
	applied, err := c.Apply(secret, func() (wire.Batch, error) {
		return wire.DecodeBatch(body, s.limits.BatchMessages, s.limits.MessageBytes)
	})
	if wrong, ok := errors.AsType[*wire.BatchError](err); ok {
		refuseBatch(w, wrong)
		return
	}
	if missing, ok := errors.AsType[*clientsocket.GapError](err); ok {
		answer(w, http.StatusConflict, struct {
			Want uint64 `json:"want"`
		}{missing.Want})
		return
	}
	switch {
	case err == nil:
		answer(w, http.StatusOK, applied)
	case errors.Is(err, clientsocket.ErrBeyond):
		refuseBatch(w, &wire.BatchError{Reason: err.Error()})
	default:
		refuse(w, http.StatusGone, err.Error())
	}
}

// second refuses a POST beside another with the same secret.
func (s *Server) second(w http.ResponseWriter) {
	s.stats.Refusals.Add(stats.RefusedSecond)
	refuseWith(w, busy)
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
	_, done := s.bodies.bound(w)
	defer done()
	if !s.admission.origin(w, r) {
		return
	}
	if body, err := s.bodies.read(w, r, maxSecretBody); err == nil {
		secret := strings.TrimSpace(string(body))
		if c := s.clients.Registry.Find(secret); c != nil {
			c.Goodbye(secret)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
