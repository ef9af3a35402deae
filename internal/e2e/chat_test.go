package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// chatter is a page of the demo, used as a person uses it.
type chatter struct {
	*page
	name string
}

// enter opens a room under a name and waits until the person is in.
func enter(t testing.TB, b *browser, base, room, name string) *chatter {
	t.Helper()
	c := &chatter{b.open(t, base+"/rooms/"+room), name}
	c.comesIn(t)
	return c
}

// comesIn is at the door, and goes through it.
func (c *chatter) comesIn(t testing.TB) {
	t.Helper()
	c.write(t, "#name", c.name)
	c.click(t, "#join")
	c.isIn(t)
}

// reloads the page, and comes in again.
func (c *chatter) reloads(t testing.TB) {
	t.Helper()
	c.front(t)
	c.must(t, http.MethodPost, "/refresh", nil, nil)
	c.comesIn(t)
}

// enterByStream is enter with the switch thrown before.
func enterByStream(t testing.TB, b *browser, base, room, name string) *chatter {
	t.Helper()
	c := &chatter{b.open(t, base+"/rooms/"+room), name}
	c.click(t, "label[for=force-stream]")
	c.comesIn(t)
	return c
}

// isIn waits until the page says that it is connected and lets one write.
func (c *chatter) isIn(t testing.TB) {
	t.Helper()
	c.until(t, c.name+" to be in the room", "document.querySelector('#state[data-state=open]') && document.querySelector('#send:enabled')")
}

// uses waits until the page names the transport that carries it.
func (c *chatter) uses(t testing.TB, transport string) {
	t.Helper()
	c.until(t, c.name+" on "+transport, "document.querySelector('#transport').dataset.transport === arguments[0]", transport)
}

// watch has the page remember whether it was ever cut off, for comesBack: it may
// be back before anybody looks.
func (c *chatter) watch(t testing.TB) {
	t.Helper()
	c.run(t, `
		const state = document.querySelector("#state")
		window.wasCut = false
		new MutationObserver(() => { window.wasCut ||= state.dataset.state !== "open" }).observe(state, { attributes: true })`, nil)
}

// comesBack waits until the page has lost the server since watch, and found it again.
func (c *chatter) comesBack(t testing.TB) {
	t.Helper()
	c.until(t, c.name+" to notice that the server went", "window.wasCut")
	c.isIn(t)
}

func (c *chatter) say(t testing.TB, message string) {
	t.Helper()
	c.write(t, "#message", message)
	c.click(t, "#send")
}

// reads waits until the log shows text.
func (c *chatter) reads(t testing.TB, text string) {
	t.Helper()
	c.until(t, c.name+" to read "+text, "document.querySelector('#log').innerText.includes(arguments[0])", text)
}

// messages returns the text of each message in the log.
func (c *chatter) messages(t testing.TB) (texts []string) {
	t.Helper()
	c.run(t, "return [...document.querySelectorAll('#log li[data-id]')].map((li) => li.innerText)", &texts)
	return texts
}

// wantOnce checks that the log holds these messages, in this order, each once.
func (c *chatter) wantOnce(t testing.TB, want ...string) {
	t.Helper()
	got := c.messages(t)
	if len(got) != len(want) {
		t.Errorf("%s has %d messages, want %d: %q", c.name, len(got), len(want), got)
		return
	}
	for i, w := range want {
		if !strings.Contains(got[i], w) {
			t.Errorf("message %d of %s: got %q, want %q", i+1, c.name, got[i], w)
		}
	}
}
