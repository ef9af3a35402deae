package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// answerWorker is a service worker that answers all requests of its pages, streams too.
func (s *site) answerWorker(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript")
	_, _ = fmt.Fprintf(w, `// version %d
addEventListener("install", () => skipWaiting())
addEventListener("activate", (event) => event.waitUntil(clients.claim()))
addEventListener("fetch", (event) => event.respondWith(fetch(event.request)))
`, s.worker.Load())
}

// A service worker through which a stream or polls go can be replaced: the page ends them when a new one is installed,
// comes back, and notices nothing.
func TestChromiumMakesRoomForANewServiceWorker(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	b := browse(t)
	home := b.open(t, "about:blank") // a browser ends with its last window
	for _, transport := range []string{"sse", "longpoll"} {
		t.Run(transport, func(t *testing.T) {
			home.front(t)
			s := openSite(t)
			k := s.talk(t, b, "room:worker", "Ada", transport)
			k.run(t, `navigator.serviceWorker.register("/worker.js")`, nil)
			k.wait(t, "to be controlled", "navigator.serviceWorker.controller")
			k.reloads(t)
			k.joins(t, 1)
			k.wait(t, "to see the service worker", "socket.diagnosis.serviceWorker")
			k.says(t, 1)

			s.worker.Add(1)
			k.run(t, `
				navigator.serviceWorker.addEventListener("controllerchange", () => { window.replaced = true })
				navigator.serviceWorker.ready.then((registration) => registration.update())`, nil)
			k.wait(t, "to have the new service worker", "window.replaced")
			k.says(t, 1)
			k.joins(t, 1)
			k.wantStayed(t)
			k.wantHeard(t, "Ada 1", "Ada 2")
		})
	}
}
