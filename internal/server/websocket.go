package server

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"github.com/go-chime/chime/internal/dialect"
)

// ServeWebSocket answers GET {mount}/websocket. A client that offers chime.v1
// speaks the chime dialect; for all others the vsn parameter decides.
func (s *Server) ServeWebSocket(w http.ResponseWriter, r *http.Request) {
	if !s.admission.origin(w, r) {
		return
	}
	if !IsUpgrade(r) {
		refuse(w, http.StatusBadRequest, "this is a WebSocket endpoint: upgrade the request, or use the event stream at sse")
		return
	}
	if dialect.OffersTooMuch(r) {
		refuse(w, http.StatusBadRequest, "the subprotocols are over "+strconv.Itoa(dialect.MaxBytes)+" bytes")
		return
	}
	d, reason := dialect.Of(r)
	if reason != "" {
		s.log.Debug("websocket refused", "reason", reason)
		refuse(w, http.StatusForbidden, reason)
		return
	}
	s.upgrade(w, r, d)
}

// ServeAmber answers GET {mount} with an upgrade: a client of Amber.
func (s *Server) ServeAmber(w http.ResponseWriter, r *http.Request) {
	if s.admission.origin(w, r) {
		s.upgrade(w, r, &dialect.Amber)
	}
}

// IsUpgrade reports whether r asks for a WebSocket.
func IsUpgrade(r *http.Request) bool {
	return IsConnect(r) || headerHas(r.Header, "Connection", "upgrade") && headerHas(r.Header, "Upgrade", "websocket")
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, d *dialect.Dialect) {
	secret := ""
	if d == &dialect.Chime {
		secret = dialect.Secret(r)
	}
	if s.others.serve(w, r, secret) {
		return
	}
	from, refused := s.admission.connection(r, d.Counted, secret)
	if refused != nil {
		refuseWith(w, refused)
		return
	}
	blocker, what := cannotHijack(w), "hijack"
	if IsConnect(r) {
		blocker, what = cannotFlush(w), "flush"
	}
	if blocker != "" {
		s.obstacles.refuse(w, "WebSockets", blocker, what)
		return
	}
	s.tasks.Do(func() { s.openWebSocket(w, r, d, from) })
}

// openWebSocket is among the tasks that Shutdown waits for: what reads may start
// after Shutdown has begun.
func (s *Server) openWebSocket(w http.ResponseWriter, r *http.Request, d *dialect.Dialect, from caller) {
	l, fresh := together[webSocketLine](from)
	l.dialect, l.server = d, s
	l.reader.watched, l.reader.timing = &l.conn, &d.Timing
	upgrade, over2 := r, (*http2Socket)(nil)
	if IsConnect(r) {
		over2, upgrade = overHTTP2(w, r)
		w = over2
	}
	ws, err := websocket.Accept(&hijacking{w, l}, upgrade, &websocket.AcceptOptions{
		Subprotocols:       d.Echo(r),
		InsecureSkipVerify: true, // the origin is checked above, by our own rule
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		s.log.Debug("websocket handshake failed", "error", err)
		return
	}
	ws.SetReadLimit(int64(s.limits.MessageBytes))
	if err := s.entrance.enter(&l.conn, l, fresh, r, from); err != nil {
		code, reason := parting(err)
		_ = l.Write(l.Farewell(nil, code, reason, true))
		l.ws = ws
		l.release()
		return
	}
	// The handler returns, where it can: its goroutine, with net/http's stack and the
	// request, costs more than twice what a client needs.
	l.ws = ws
	s.tasks.Go(l.read)
	if over2 != nil {
		s.tasks.Go(func() { over2.receive(r.Body) })
		over2.carry()
	}
}

func headerHas(h http.Header, key, token string) bool {
	for _, value := range h.Values(key) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}
