package e2e

import (
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/transport/transporttest"
)

// The demo says why it talks by this transport, where one points with a finger, too, and fits
// into the window with it.
func TestChromiumSaysWhyThisTransport(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	s := serve(t)
	network, _ := transporttest.Named("deaf-websocket")
	box := network.Start(s.url)
	t.Cleanup(box.Close)
	b := browse(t)
	ada := enter(t, b, box.URL, "lobby", "Ada")
	ada.uses(t, "sse")
	ada.say(t, "how did I get here?")
	ada.reads(t, "how did I get here?")
	ada.click(t, "#transport")
	ada.until(t, "the reasons", "document.querySelector('#why').open")
	got := ada.text(t, "#reasons")
	for _, want := range []string{"This page talks by sse + post", "This network blocks websocket", "websocket: failed", "sse + post: works, proven after"} {
		if !strings.Contains(got, want) {
			t.Errorf("the page says %q, want %q in it", got, want)
		}
	}
	ada.picture(t, "why")
	if errs := b.uncaught(t); len(errs) > 0 {
		t.Errorf("the page's script failed: %q", errs)
	}
}
