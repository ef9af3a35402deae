package server

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// refusal is why a request is refused.
type refusal struct {
	status int
	reason string
	retry  time.Duration // after which the client may come back; 0: not because time passes
}

// refuseWith answers a request that was refused. Retry-After is in whole seconds.
func refuseWith(w http.ResponseWriter, e *refusal) {
	retry := e.retry
	if e == draining { // those whom a proxy goes on to send here would come together when it has learnt of it
		retry = comeBack()
	}
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((retry+time.Second-1)/time.Second)))
	}
	refuse(w, e.status, e.reason)
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
