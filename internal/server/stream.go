package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
)

// Headers of the chime dialect on the stream, on polls and on POSTs.
const (
	headerSecret   = "Chime-Secret"
	headerReceived = "Chime-Received"
	headerHold     = "Chime-Hold"
)

// ServeStream answers GET {mount}/sse with an event stream. A request with
// chime headers opens a client socket whose other half are POSTs; one without
// opens a receive-only stream of the topics it names.
func (s *Server) ServeStream(w http.ResponseWriter, r *http.Request) {
	if !s.admission.origin(w, r) {
		return
	}
	switch r.Header.Get("Sec-Fetch-Mode") {
	case "navigate", "no-cors":
		refuse(w, http.StatusForbidden, "this is an event stream: read it with fetch or EventSource")
		return
	}
	secret, received := r.Header.Get(headerSecret), r.Header.Get(headerReceived)
	chime := secret != "" || received != ""
	if _, err := strconv.ParseUint(received, 10, 64); received != "" && err != nil {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("%s: %.40q: want a number", headerReceived, received))
		return
	}
	if s.others.serve(w, r, secret) {
		return
	}
	speaks := stats.Bare
	if chime {
		speaks = stats.Chime
	}
	from, refused := s.admission.connection(r, speaks, secret)
	switch {
	case refused == nil:
	case refused.retry > 0 && !chime:
		later(w, refused.retry)
		return
	default:
		refuseWith(w, refused)
		return
	}
	var joins []wire.Frame
	var ids *bare
	if !chime {
		var err error
		if joins, ids, err = bareJoins(r, s.limits.MessageBytes); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	if blocker := cannotFlush(w); blocker != "" {
		s.obstacles.refuse(w, "event streams", blocker, "flush")
		return
	}
	s.tasks.Do(func() { s.openStream(w, r, from, joins, ids) })
}

// openStream is openWebSocket for a stream; without chime headers it has joins, and the
// ids of its events. A handler that stays is waited for too.
func (s *Server) openStream(w http.ResponseWriter, r *http.Request, from caller, joins []wire.Frame, ids *bare) {
	l, fresh := together[streamLine](from)
	l.bare, l.stuckFor = ids, s.limits.StuckFor
	switch err := l.begin(w, r); {
	case errors.Is(err, errBuffered):
		s.obstacles.refuseBuffered(w, "event streams")
		return
	case err != nil:
		s.log.Debug("event stream not opened", "error", err)
		return
	}
	s.obstacles.encoded(w)
	if err := s.entrance.enter(&l.conn, l, fresh, r, from); err != nil {
		code, reason := parting(err)
		_ = l.Write(l.Seal(l.Farewell(l.Open(nil), code, reason, true), true))
		l.release()
		return
	}
	if l.bare != nil {
		l.age()
	}
	for _, f := range joins {
		l.conn.Receive(f, f.Size())
	}
	if l.hijacked() {
		s.tasks.Go(l.attend)
		return
	}
	l.stay(r.Context())
}

// later asks the client of a stream without chime headers to come back: a native
// EventSource gives up for ever on anything but 200.
func later(w http.ResponseWriter, retry time.Duration) {
	streamHeaders(w.Header(), 1)
	w.WriteHeader(http.StatusOK)
	_, _ = fmt.Fprintf(w, "retry: %d\n\n", (retry + rand.N(drainSpread)).Milliseconds())
}

func streamHeaders(h http.Header, protoMajor int) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")      // nginx
	h.Set("Content-Encoding", "identity") // chi's Compress and its like
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Origin")
	if protoMajor == 1 {
		// What comes after the stream is not answered: once hijacked, this
		// connection can serve no second request.
		h.Set("Connection", "close")
	}
}
