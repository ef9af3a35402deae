package e2e

import (
	"testing"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/redistest"
)

// The demo says that nothing can be sent while its connection is open and the broker is away,
// and sends what was not taken when that is back.
func TestChromiumSaysThatTheBrokerIsAway(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	engine := redistest.Start(t)
	s := serve(t, "--broker", engine.URL())
	b := browse(t)
	ada := enter(t, b, s.url, "lobby", "Ada")
	ada.say(t, "before")
	ada.reads(t, "before")
	engine.Stop(t)
	t.Cleanup(func() { engine.GoOn(t) })
	ada.say(t, "meanwhile")
	ada.until(t, "the page to say so", "document.querySelector('#state[data-state=unwell]')?.textContent.includes(\"broker: can't be reached\")")
	ada.picture(t, "unwell")
	ada.until(t, "the message to fail", "document.querySelector('.msg[data-state=failed]')")
	engine.GoOn(t)
	ada.until(t, "the page to be well", "document.querySelector('#state[data-state=open]')")
	ada.until(t, "the message to be sent", "!document.querySelector('.msg[data-state=failed]') && !document.querySelector('.msg[data-state=pending]')")
	ada.wantOnce(t, "before", "meanwhile")
	if errs := b.uncaught(t); len(errs) > 0 {
		t.Errorf("the page's script failed: %q", errs)
	}
}
