package e2e

import (
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
)

// A page wakes up: its connections are dead, those that the browser has kept for
// later requests too, and the first two new ones hang. It does not wait for one
// after the other.
func TestChromiumWakesUpToADeadPath(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	const hang, most, busy = 2, 3 * time.Second, 9 * time.Second // one that hangs is given up after 10 s
	s := openSite(t)
	k := s.talk(t, browse(t), "quiet:wake", "Ada", "auto")
	k.run(t, `
		window.kept = window.woke = 0
		Promise.all([1, 2, 3].map(() => fetch("/", { cache: "no-store" }).then((response) => response.text()))).then(() => { kept = 1 })
		document.addEventListener("resume", () => {
			const at = performance.now()
			room.push("echo", {}).then(() => { woke = performance.now() - at })
		})`, nil)
	k.wait(t, "to have connections that it keeps for later", "kept")

	k.freezes(t)
	k.cable.strand(hang)
	k.thaws(t)
	k.wait(t, "to be answered", "woke")
	var ms float64
	k.run(t, "return woke", &ms)
	took := time.Duration(ms * float64(time.Millisecond))
	wantWithin(t, "the answer to a push of a page that woke up", took, most)
	if took > busy {
		t.Errorf("the page is back after %v, want it not to have waited for what hangs", took)
	}
	k.wantStayed(t)
}
