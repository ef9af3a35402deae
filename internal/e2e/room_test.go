package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// What a room of the demo has besides messages that come: who is there and who types, what
// was said before, and what is taken back.
func TestChromiumUsesTheRoom(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	s := serve(t)
	const before = 180
	for n := range before {
		s.post(t, "lobby", fmt.Sprintf("line %d.", n))
	}
	b := browse(t)
	ada := enter(t, b, s.url, "lobby", "Ada")
	bob := enter(t, b, s.url, "lobby", "Bob")

	t.Run("who is there", func(t *testing.T) {
		const names = "[...document.querySelectorAll('#people-list li')].map((li) => li.textContent).join()"
		ada.front(t)
		ada.until(t, "to see both", names+" === 'Ada (you),Bob'")
		bob.front(t)
		bob.until(t, "to see both", names+" === 'Ada,Bob (you)'")
		bob.write(t, "#message", "hello")
		const typing = "document.querySelector('#typing').textContent"
		ada.front(t)
		ada.until(t, "to read that Bob types", typing+" === 'Bob is typing…'")
		ada.click(t, "#count")
		ada.look(t, 1280, "light")
		ada.screenshot(t, "people-1280")
		ada.fits(t)
		ada.click(t, "#transport")
		ada.until(t, "one panel in place of the other", "document.querySelector('#why').open && !document.querySelector('#people').open")
		ada.click(t, "#log")
		ada.until(t, "no panel", "!document.querySelector('details[open]')")
		bob.front(t)
		bob.click(t, "#send")
		ada.front(t)
		ada.reads(t, "hello")
		ada.until(t, "to read that nobody types", typing+" === ''")
	})

	t.Run("what was said before", func(t *testing.T) {
		ada.front(t)
		const shown = "document.querySelectorAll('#log li[data-id]').length"
		messages := func() (n int) {
			ada.run(t, "return "+shown, &n)
			return n
		}
		for messages() < before+1 {
			was := messages()
			// What is on the screen stays where it is.
			ada.run(t, `
				document.querySelector("#scroll").scrollTop = 300
				window.mark = [...document.querySelectorAll("#log li[data-id]")].find((li) => li.getBoundingClientRect().top > 200)
				window.stood = mark.getBoundingClientRect().top`, nil)
			ada.until(t, "older messages", shown+" > arguments[0]", was)
			var moved float64
			ada.run(t, "return mark.getBoundingClientRect().top - stood", &moved)
			if moved < -2 || moved > 2 {
				t.Errorf("with %d messages, what was on the screen has moved by %v px", was, moved)
			}
		}
		ada.run(t, `document.querySelector("#scroll").scrollTop = 0`, nil)
		ada.until(t, "to read where the room begins", "document.querySelector('#older').dataset.state === 'begun'")
		ada.screenshot(t, "older-1280")
		for i, text := range ada.messages(t)[:before] {
			if want := fmt.Sprintf("line %d.", i); !strings.Contains(text, want) {
				t.Fatalf("message %d is %q, want %q", i, text, want)
			}
		}
	})

	t.Run("what is taken back", func(t *testing.T) {
		ada.front(t)
		ada.say(t, "a slip")
		bob.front(t)
		bob.reads(t, "a slip")
		const absent = "!document.querySelector('#log').innerText.includes('a slip')"
		ada.front(t)
		ada.run(t, `[...document.querySelectorAll("#log li.own")].find((li) => li.innerText.includes("a slip")).querySelector(".remove").click()`, nil)
		ada.until(t, "the slip to be gone", absent)
		bob.front(t)
		bob.until(t, "the slip to be gone", absent)
		var others int
		bob.run(t, "return document.querySelectorAll('#log li:not(.own) .remove').length", &others)
		if others != 0 {
			t.Errorf("Bob can delete %d messages of others", others)
		}
		cy := enter(t, b, s.url, "lobby", "Cy")
		cy.reads(t, "hello")
		cy.until(t, "nothing of the slip", absent)
		cy.close(t)
	})
	if errs := b.uncaught(t); len(errs) > 0 {
		t.Errorf("a script failed: %q", errs)
	}
}
