package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
)

// ServePost answers POST {mount}/sse: frames of a client whose other half is a
// stream. A batch is applied whole or not at all, once, in its place.
func (s *Server) ServePost(w http.ResponseWriter, r *http.Request) {
	body := s.bodies.bound(w, r)
	defer body.done()
	if !s.admission.origin(w, r) {
		return
	}
	secret := r.Header.Get(headerSecret)
	if secret == "" {
		refuseBatch(w, &wire.BatchError{Reason: "no " + headerSecret + " header"})
		return
	}
	if s.others.serve(w, r, secret) {
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
	switch refused := s.uploads.read(body, c, secret, func(data []byte) { s.apply(w, c, secret, data) }); refused {
	case nil:
	case unreadable:
		refuseBatch(w, &wire.BatchError{Reason: refused.reason})
	default:
		refuseWith(w, refused)
	}
}

// apply applies a batch, and answers.
func (s *Server) apply(w http.ResponseWriter, c *clientsocket.ClientSocket, secret string, body []byte) {
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
	case s.Draining(): // what was taken stands in what the client is told at its end
		s.stats.Refusals.Add(stats.RefusedDraining)
		refuseWith(w, draining)
	default:
		refuse(w, http.StatusGone, err.Error())
	}
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
	body := s.bodies.bound(w, r)
	defer body.done()
	if !s.admission.origin(w, r) {
		return
	}
	if data, err := body.read(maxSecretBody); err == nil {
		secret := strings.TrimSpace(string(data))
		if s.others.serveRead(w, r, secret, data) {
			return
		}
		if c := s.clients.Registry.Find(secret); c != nil {
			c.Goodbye(secret)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
