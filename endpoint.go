package chime

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	js "github.com/go-chime/chime/client/js"
	"github.com/go-chime/chime/internal/server"
)

// endpoint is what a Router serves under one name.
type endpoint struct {
	get, post serveFunc
	socket    bool // get answers an upgrade, which on HTTP/2 is a CONNECT
}

type serveFunc func(*server.Server, http.ResponseWriter, *http.Request)

var endpoints = map[string]endpoint{
	"":          {get: greet, socket: true},
	"websocket": {get: (*server.Server).ServeWebSocket, socket: true},
	"sse":       {get: headOf("text/event-stream", (*server.Server).ServeStream), post: (*server.Server).ServePost},
	"poll":      {get: headOf("application/json", (*server.Server).ServePoll), post: (*server.Server).ServePost},
	"wait":      {post: (*server.Server).ServeWait},
	"longpoll":  {get: headOf("application/json", (*server.Server).ServeLongPoll), post: (*server.Server).ServeLongPollPost},
	"bye":       {post: (*server.Server).ServeBye},
	"chime.js":  {get: script(js.Module, "text/javascript; charset=utf-8")},
	// A .ts file has the media type of an MPEG stream in many tables.
	"chime.d.ts":          {get: script(js.Types, "text/plain; charset=utf-8")},
	"phoenix-stream.js":   {get: script(js.PhoenixStream, "text/javascript; charset=utf-8")},
	"phoenix-stream.d.ts": {get: script(js.PhoenixStreamTypes, "text/plain; charset=utf-8")},
}

func (e endpoint) methods() string {
	var list []string
	if e.get != nil {
		list = append(list, http.MethodGet, http.MethodHead)
	}
	if e.post != nil {
		list = append(list, http.MethodPost)
	}
	return strings.Join(append(list, http.MethodOptions), ", ")
}

// headOf answers a HEAD without what follows it: GetHead and the like make a GET of it, which
// would wait, or never end.
func headOf(mediaType string, serve serveFunc) serveFunc {
	return func(s *server.Server, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Type", mediaType)
			return
		}
		serve(s, w, r)
	}
}

// greet answers at the mount itself: an Amber client, a browser or a health check.
func greet(s *server.Server, w http.ResponseWriter, r *http.Request) {
	if server.IsUpgrade(r) {
		s.ServeAmber(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = fmt.Fprintln(w, "chime: connect below this path, at websocket, sse or poll; the client is chime.js")
}

// script serves an embedded file with an ETag of its content, so that browsers get a
// new version at once, and the same one only once.
func script(content []byte, mediaType string) serveFunc {
	sum := sha256.Sum256(content)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return func(_ *server.Server, w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", mediaType)
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Access-Control-Allow-Origin", "*") // pages of other origins need it for a module; it has no secret
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}
