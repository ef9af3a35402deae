package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// slowest waits for half a minute, so it begins first and ends last.
const slowest = "hears the ping"

func TestAmberClient(t *testing.T) {
	node := need.Program(t, "node")
	need.Path(t, "node_modules/ws", "run make deps")
	list := start(t, exec.Command(node, "amber.mjs", "list", ""))
	var behaviours []string
	if err := json.Unmarshal([]byte(list.line(t, regexp.MustCompile(`^behaviours: (.*)`))[1]), &behaviours); err != nil {
		t.Fatal(err)
	}
	shared := serve(t)
	listener := start(t, exec.Command(node, "amber.mjs", slowest, shared.url))
	for _, behaviour := range slices.DeleteFunc(behaviours, func(b string) bool { return b == slowest }) {
		t.Run(behaviour, func(t *testing.T) {
			s, url := shared, shared.url
			var asks string
			var does func(t *testing.T)
			switch behaviour {
			case "comes back after a restart of the server":
				s = serve(t)
				url, asks, does = s.url, "restart", func(t *testing.T) { s.restart(t) }
			case "is who its session says":
				url = openClub(t).url
			case "comes back after a cut":
				line := lay(t, s.addr)
				url, asks, does = "http://"+line.addr, "cut", func(*testing.T) { line.cut() }
			}
			client := start(t, exec.Command(node, "amber.mjs", behaviour, url))
			if does != nil {
				client.line(t, regexp.MustCompile("^"+asks+"$"))
				does(t)
			}
			if err := client.wait(t); err != nil {
				t.Errorf("%s: %v", behaviour, err)
			}
		})
	}
	t.Run("in Chromium", amberInChromium)
	t.Run(slowest, func(t *testing.T) {
		if err := listener.wait(t); err != nil {
			t.Errorf("%v:\n%s", err, listener.output())
		}
	})
}

// amberInChromium has a browser's own WebSocket speak Amber.
func amberInChromium(t *testing.T) {
	c := openClub(t)
	b := browse(t)
	// Cookies know hosts, but no ports: under another name of the host Ada is not
	// who Bob is.
	ada := enterClub(t, b, strings.Replace(c.url, "127.0.0.1", "localhost", 1), "Ada")
	t.Run("with a page of chime", func(t *testing.T) { amberBesideAPage(t, b) })
	t.Run("is who its session says, also after a cut", func(t *testing.T) {
		var heard []string
		hears := func(lines ...string) {
			t.Helper()
			heard = append(heard, lines...)
			ada.until(t, "Ada to hear "+strings.Join(lines, ", "), "document.querySelector('#heard').innerText.trim() === arguments[0]", strings.Join(heard, "\n"))
		}
		hears("message_new Ada hello 1")
		line := lay(t, c.addr)
		enterClub(t, b, "http://"+line.addr, "Bob")
		hears("user_joined Bob", "message_new Bob hello 1")
		// He comes back within a second, so he was missed at once.
		line.cut()
		hears("user_left Bob vanished", "user_joined Bob", "message_new Bob hello 2")
	})
	t.Run(slowest, func(t *testing.T) {
		ada.until(t, "a ping", "socket.pings > 0 && socket.opened === 1")
	})
	if errs := b.uncaught(t); len(errs) > 0 {
		t.Errorf("a script failed: %q", errs)
	}
}

// amberBesideAPage has a browser's own WebSocket speak Amber, beside a person on
// the demo's page.
func amberBesideAPage(t *testing.T, b *browser) {
	s := serve(t)
	source, err := os.ReadFile("amber-client.mjs")
	if err != nil {
		t.Fatal(err)
	}
	ada := enter(t, b, s.url, "chromium", "Ada")
	ada.say(t, "before Bob")
	ada.reads(t, "before Bob")

	// Any page of the same origin will do: what is not from there may not connect.
	bob := b.open(t, s.url+"/healthz")
	bob.run(t, strings.Replace(string(source), "export class AmberSocket", "window.AmberSocket = class AmberSocket", 1), nil)
	bob.run(t, `
		window.heard = []
		window.socket = new AmberSocket(location.origin.replace("http", "ws") + "/socket")
		window.room = socket.channel("chat_room:chromium")
		for (const subject of ["message_new", "user_joined", "user_left"]) room.on(subject, ({ name, message }) => heard.push([subject, name, message ?? ""].join(" ").trim()))
		socket.onopen = () => { if (socket.opened === 1) room.join() }
		socket.connect()`, nil)
	hears := func(t *testing.T, text string) {
		t.Helper()
		bob.until(t, "Bob to hear "+text, "window.heard.includes(arguments[0])", text)
	}

	hears(t, "message_new Ada before Bob")
	ada.reads(t, "guest")
	ada.say(t, "hello Bob")
	hears(t, "message_new Ada hello Bob")
	bob.run(t, `room.push("message_new", { message: "hello Ada", id: "hello-ada" })`, nil)
	ada.reads(t, "hello Ada")
	ada.wantOnce(t, "before Bob", "hello Bob", "hello Ada")

	bob.run(t, `room.leave()`, nil)
	ada.reads(t, "has left")
	bob.run(t, `heard.length = 0; room.join()`, nil)
	bob.until(t, "Bob to hear hello Ada", "window.heard.some((text) => /^message_new guest .{4} hello Ada$/.test(text))")

	ada.watch(t)
	s.restart(t)
	bob.until(t, "Bob to be back", "socket.opened === 2")
	ada.comesBack(t)
	ada.say(t, "after the restart")
	hears(t, "message_new Ada after the restart")
	ada.close(t)
	bob.close(t)
}
