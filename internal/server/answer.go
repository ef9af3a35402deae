package server

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/go-chime/chime/transport"
)

// refuseWith answers a request that admission refused.
func refuseWith(w http.ResponseWriter, e *transport.RefusedError) {
	if comesBack(e) {
		w.Header().Set("Retry-After", strconv.Itoa(int(drainRetry.Seconds())))
	}
	refuse(w, e.Status, e.Reason)
}

// refuse answers with a status and {"reason":…}.
func refuse(w http.ResponseWriter, status int, reason string) {
	answer(w, status, struct {
		Reason string `json:"reason"`
	}{reason})
}

func answer(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // nobody reads it if the client is not there any more
}
