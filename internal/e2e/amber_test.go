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
	t.Run("in Chromium, with a page of chime", amberInChromium)
	t.Run(slowest, func(t *testing.T) {
		if err := listener.wait(t); err != nil {
			t.Errorf("%v:\n%s", err, listener.output())
		}
	})
}

// amberInChromium has a browser's own WebSocket speak Amber, beside a person on
// the demo's page.
func amberInChromium(t *testing.T) {
	s := serve(t)
	source, err := os.ReadFile("amber-client.mjs")
	if err != nil {
		t.Fatal(err)
	}
	b := browse(t)
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
		socket.onopen = () => { if (socket.opened === 1) room.join({ name: "Bob" }) }
		socket.connect()`, nil)
	hears := func(t *testing.T, text string) {
		t.Helper()
		bob.until(t, "Bob to hear "+text, "window.heard.includes(arguments[0])", text)
	}

	hears(t, "message_new Ada before Bob")
	ada.reads(t, "Bob has joined")
	ada.say(t, "hello Bob")
	hears(t, "message_new Ada hello Bob")
	bob.run(t, `room.push("message_new", { name: "Bob", message: "hello Ada", id: "hello-ada" })`, nil)
	ada.reads(t, "hello Ada")
	ada.wantOnce(t, "before Bob", "hello Bob", "hello Ada")

	bob.run(t, `room.leave()`, nil)
	ada.reads(t, "Bob has left")
	bob.run(t, `heard.length = 0; room.join()`, nil)
	hears(t, "message_new Bob hello Ada")

	ada.watch(t)
	s.restart(t)
	bob.until(t, "Bob to be back", "socket.opened === 2")
	ada.comesBack(t)
	ada.say(t, "after the restart")
	hears(t, "message_new Ada after the restart")
	if errs := b.uncaught(t); len(errs) > 0 {
		t.Errorf("a script failed: %q", errs)
	}
}
