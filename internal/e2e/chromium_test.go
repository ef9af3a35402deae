package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
)

// Two people in two windows, over each transport, from the first word to after
// a restart of the server.
func TestChromiumTwoPagesChat(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	for _, by := range []struct {
		transport string
		enter     func(t testing.TB, b *browser, base, room, name string) *chatter
		forgets   []string
	}{
		{"websocket", enter, nil},
		{"sse", enterByStream, []string{"--db="}},
	} {
		t.Run(by.transport, func(t *testing.T) {
			s := serve(t, by.forgets...)
			b := browse(t)
			ada := by.enter(t, b, s.url, "lobby", "Ada")
			bob := by.enter(t, b, s.url, "lobby", "Bob")
			ada.uses(t, by.transport)
			bob.uses(t, by.transport)
			ada.reads(t, "Bob has joined")

			// What is typed is text, whatever it looks like.
			said := []string{"hello from Ada", "<b>bold</b> & <img src=x onerror=alert(1)>", "and from Bob: 😀"}
			ada.say(t, said[0])
			bob.reads(t, said[0])
			ada.say(t, said[1])
			bob.reads(t, said[1])
			bob.say(t, said[2])
			for _, c := range []*chatter{ada, bob} {
				c.reads(t, said[2])
				c.wantOnce(t, said...)
			}

			// Somebody who comes late reads what was said, and is seen to come and go.
			cy := by.enter(t, b, s.url, "lobby", "Cy")
			cy.reads(t, said[2])
			cy.wantOnce(t, said...)
			ada.reads(t, "Cy has joined")
			cy.close(t)
			ada.reads(t, "Cy has left")
			bob.reads(t, "Cy has left")

			// Another room is another room.
			dee := by.enter(t, b, s.url, "elsewhere", "Dee")
			dee.say(t, "only here")
			dee.reads(t, "only here")
			dee.wantOnce(t, "only here")

			ada.picture(t, by.transport)

			// A page shows what the new server has: all, or nothing.
			everybody := []*chatter{ada, bob, dee}
			for _, c := range everybody {
				c.watch(t)
			}
			s.restart(t)
			for _, c := range everybody {
				// On which transport is luck: a WebSocket may be tried just before the
				// new server listens, and the stream just after.
				c.comesBack(t)
			}
			ada.say(t, "back again")
			has := append(said, "back again")
			if by.forgets != nil {
				has = has[len(said):]
			}
			for _, c := range []*chatter{ada, bob} {
				c.reads(t, "back again")
				c.wantOnce(t, has...)
			}
			if got := dee.text(t, "#log"); strings.Contains(got, "back again") {
				t.Errorf("a message of the lobby is shown elsewhere: %q", got)
			}
			if errs := b.uncaught(t); len(errs) > 0 {
				t.Errorf("the page's script failed: %q", errs)
			}
		})
	}
}

// A room may have a name of 100 bytes: it is cut off rather than pushing what
// stands beside it out of the window, or into rows of its own.
func TestChromiumShowsARoomWithALongName(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	s := serve(t)
	b := browse(t)
	for _, room := range []string{"standup-notes-for-platform-tea", strings.Repeat("W", 100)} {
		door := b.open(t, s.url+"/rooms/"+room)
		door.look(t, 390, "light")
		door.fits(t)
		ada := enter(t, b, s.url, room, "Ada")
		ada.say(t, strings.Repeat("w", 200))
		ada.reads(t, "www")
		ada.look(t, 390, "light")
		ada.screenshot(t, fmt.Sprintf("room-%d-390", len(room)))
		ada.fits(t)
		ada.look(t, 1280, "light")
		ada.screenshot(t, fmt.Sprintf("room-%d-1280", len(room)))
		ada.fits(t)
		var tall, row int
		ada.run(t, "return document.querySelector('.bar').offsetHeight", &tall)
		ada.run(t, "return document.querySelector('.switch').offsetHeight", &row)
		if tall >= 3*row {
			t.Errorf("the bar is %d px tall where a row has %d px, want one row", tall, row)
		}
	}
}

// That nobody has said anything is known once the room has told all that it keeps.
func TestChromiumSaysThatARoomIsEmptyOnceItKnows(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	const shown = "document.querySelector('#empty').checkVisibility()"
	s := serve(t)
	b := browse(t)
	c := lay(t, s.addr)
	ada := &chatter{b.open(t, "http://"+c.addr+"/rooms/lobby"), "Ada"}
	c.down()
	ada.write(t, "#name", "Ada")
	ada.click(t, "#join")
	ada.until(t, "to be connecting", "document.querySelector('#state[data-state=connecting]')")
	ada.look(t, 390, "light")
	ada.screenshot(t, "connecting-390")
	var says bool
	ada.run(t, "return "+shown, &says)
	if says {
		t.Error("the page says that the room is empty, and is not in it yet")
	}

	c.up()
	ada.isIn(t)
	ada.until(t, "to read that the room is empty", shown)
	ada.screenshot(t, "empty-390")
	var off float64
	ada.run(t, `
		const middle = (id) => { const { top, bottom } = document.querySelector(id).getBoundingClientRect(); return (top + bottom) / 2 }
		return middle("#empty") - middle("#scroll")`, &off)
	if off < -1 || off > 1 {
		t.Errorf("the text stands %v px below the middle", off)
	}
	ada.say(t, "not any more")
	ada.until(t, "the text to be gone", "!"+shown)

	// A page that opens a room with history never shows that there is none.
	bob := &chatter{b.open(t, s.url+"/rooms/lobby"), "Bob"}
	bob.run(t, `
		window.told = false
		new MutationObserver(() => { told ||= `+shown+` }).observe(document.querySelector("#hall"), { attributes: true, childList: true, subtree: true })`, nil)
	bob.write(t, "#name", "Bob")
	bob.click(t, "#join")
	bob.reads(t, "not any more")
	bob.run(t, "return told", &says)
	if says {
		t.Error("the page has said that the room is empty, and it is not")
	}
}

// What is said while the server is away is marked, waits for the person, and
// arrives once.
func TestChromiumSendsAFailedMessageAgain(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	s := serve(t, "--db=") // the next server takes no pass of this one: Ada is the same person, and another guest
	b := browse(t)
	ada := enter(t, b, s.url, "lobby", "Ada")
	bob := enter(t, b, s.url, "lobby", "Bob")
	for _, c := range []*chatter{ada, bob} {
		c.watch(t)
	}
	s.stop(t)
	said := time.Now()
	ada.say(t, "is anybody there?")
	ada.until(t, "the message to be marked", "document.querySelector('#log li[data-id][data-state=failed]')")
	if after := time.Since(said); after < 15*time.Second {
		t.Errorf("the message is called failed after %v, while the server may still wait for the page", after)
	}
	ada.until(t, "to read that nothing was sent", "document.querySelector('#log .fate').textContent.startsWith('Not sent: there was no connection.')")
	ada.look(t, 390, "dark")
	ada.screenshot(t, "failed-390-dark")

	s.start(t)
	ada.comesBack(t)
	bob.comesBack(t)
	bob.wantOnce(t) // not before it is asked for
	ada.click(t, "#log li[data-state=failed] button")
	ada.until(t, "the message to be sent", "document.querySelector('#log li[data-id][data-state=sent]')")
	bob.reads(t, "is anybody there?")
	for _, c := range []*chatter{ada, bob} {
		c.wantOnce(t, "is anybody there?")
	}
}

// A message that the server never got before it was killed may have arrived, for
// all that the page knows; sent again it is there once.
func TestChromiumSaysWhichMessageMayHaveArrived(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	s := serve(t)
	b := browse(t)
	c := lay(t, s.addr)
	ada := enter(t, b, "http://"+c.addr, "lobby", "Ada")
	ada.watch(t)
	c.fallSilent()
	ada.say(t, "did you get this?")
	s.kill(t)
	s.start(t)
	c.cut()
	c.up()
	ada.comesBack(t)
	ada.until(t, "the message to be marked", "document.querySelector('#log li[data-id][data-state=failed]')")
	ada.until(t, "to read that it may have arrived", "document.querySelector('#log .fate').textContent.startsWith('It may have been sent: the connection was gone')")
	ada.click(t, "#log li[data-state=failed] button")
	ada.until(t, "the message to be sent", "document.querySelector('#log li[data-id][data-state=sent]')")
	ada.wantOnce(t, "did you get this?")
}

// A message whose answer alone was lost is sent again, and the server has it twice:
// the pages know it by its id, and show it once.
func TestChromiumShowsOnceWhatArrivedTwice(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	const said = "did you get this?"
	s := serve(t)
	b := browse(t)
	c := lay(t, s.addr)
	ada := enter(t, b, "http://"+c.addr, "lobby", "Ada")
	bob := enter(t, b, s.url, "lobby", "Bob")
	ada.watch(t)
	bob.watch(t)
	// Somebody quick: when the page is back the history shows that the message has
	// arrived, and there is nothing to click on any more.
	ada.run(t, `
		window.fates = []
		new MutationObserver(() => {
			const again = document.querySelector("#log .again")
			if (!again) return
			fates.push(again.parentElement.textContent)
			again.click()
		}).observe(document.querySelector("#log"), { childList: true, subtree: true })`, nil)
	c.deafen()
	ada.say(t, said)
	bob.reads(t, said)
	s.kill(t)
	s.start(t)
	c.cut()
	c.up()
	bob.comesBack(t)
	ada.comesBack(t)
	ada.say(t, "it is there")
	for _, who := range []*chatter{ada, bob} {
		who.reads(t, "it is there")
		who.wantOnce(t, said, "it is there")
	}
	var fates []string
	ada.run(t, "return fates", &fates)
	if len(fates) != 1 || !strings.HasPrefix(fates[0], "It may have been sent: the connection was gone") {
		t.Errorf("the page said %q of the message, want that it may have been sent", fates)
	}

	late := enter(t, b, s.url, "lobby", "Cy")
	late.reads(t, "it is there")
	late.wantOnce(t, said, "it is there")

	s.stop(t)
	if kept := s.kept(t); strings.Count(kept, said) != 1 {
		t.Errorf("the server has %q, want the message once, which was sent twice", kept)
	}
}

// Two pages may have one name. What a page shows as its own is what was said there,
// while it is said and after it is loaded again.
func TestChromiumKnowsItsOwnMessages(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	s := serve(t)
	b := browse(t)
	one := enter(t, b, s.url, "lobby", "Ann")
	other := enter(t, b, s.url, "lobby", "Ann")
	one.say(t, "from one")
	other.reads(t, "from one")
	other.say(t, "from the other")
	one.reads(t, "from the other")
	wantOwn := func(when string) {
		t.Helper()
		for c, want := range map[*chatter]string{one: "from one", other: "from the other"} {
			c.reads(t, "from one")
			c.reads(t, "from the other")
			var got []string
			c.run(t, "return [...document.querySelectorAll('#log li.own .text')].map((text) => text.textContent)", &got)
			if len(got) != 1 || got[0] != want {
				t.Errorf("%s: got %q as a page's own, want %q", when, got, want)
			}
		}
	}
	wantOwn("live")
	one.reloads(t)
	other.reloads(t)
	wantOwn("after a reload")
}

// picture keeps screenshots of the narrow and the wide page in both colour
// schemes, and checks that nothing sticks out.
func (c *chatter) picture(t *testing.T, name string) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{390, 1280} {
			c.look(t, width, scheme)
			c.screenshot(t, fmt.Sprintf("%s-%d-%s", name, width, scheme))
			c.fits(t)
		}
	}
}

// fits checks that nothing sticks out of the window to the side.
func (p *page) fits(t *testing.T) {
	t.Helper()
	var got struct{ Wide, Window int }
	p.run(t, "return { wide: document.documentElement.scrollWidth, window: innerWidth }", &got)
	if got.Wide > got.Window {
		t.Errorf("the page is %d px wide in a window of %d px", got.Wide, got.Window)
	}
}
