package e2e

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// The clients as npm has them; the versions are in package.json.
var phoenixes = []string{"phoenix-1.6", "phoenix-1.7", "phoenix"}

// What carries them: a WebSocket, the transport that chime adds, and their own polls.
var carriers = []string{"websocket", "stream", "longpoll"}

func TestPhoenixClient(t *testing.T) {
	eachPhoenix(t, "phoenix.mjs", func(t *testing.T) func(t *testing.T, client phoenixClient) {
		shared := serve(t)
		return func(t *testing.T, client phoenixClient) {
			if client.behaviour != "comes back after a restart of the server" {
				client.run(t, shared.url)
				return
			}
			s := serve(t)
			p := client.start(t, s.url)
			p.line(t, regexp.MustCompile(`^restart$`))
			s.restart(t)
			client.wait(t, p)
		}
	})
}

// What the demo is too harmless for.
func TestPhoenixClientOnASite(t *testing.T) { onASite(t, "phoenix-site.mjs") }

func TestPhoenixPresence(t *testing.T) { onASite(t, "phoenix-presence.mjs") }

func onASite(t *testing.T, script string) {
	eachPhoenix(t, script, func(t *testing.T) func(t *testing.T, client phoenixClient) {
		s := openSite(t)
		return func(t *testing.T, client phoenixClient) {
			defer s.cable.up() // a behaviour that failed may have left it silent
			client.run(t, s.url, s.desk)
		}
	})
}

// eachPhoenix runs a script once for each version of the client, transport, and
// behaviour that the script knows. Open is called once for a version and a
// transport.
func eachPhoenix(t *testing.T, script string, open func(t *testing.T) func(t *testing.T, client phoenixClient)) {
	node := need.Program(t, "node")
	for _, pkg := range append([]string{"ws"}, phoenixes...) {
		need.Path(t, "node_modules/"+pkg, "run make deps")
	}
	list := start(t, exec.Command(node, script, "phoenix", "websocket", "list", ""))
	var behaviours []string
	if err := json.Unmarshal([]byte(list.line(t, regexp.MustCompile(`^behaviours: (.*)`))[1]), &behaviours); err != nil {
		t.Fatal(err)
	}
	for _, pkg := range phoenixes {
		for _, carrier := range carriers {
			if carrier == "longpoll" && pkg == "phoenix-1.6" {
				continue // it sends each frame in a POST of its own, all at once
			}
			t.Run(pkg+"/"+carrier, func(t *testing.T) {
				t.Parallel() // each on a server of its own, and mostly waiting for a backoff
				check := open(t)
				for _, behaviour := range behaviours {
					t.Run(behaviour, func(t *testing.T) {
						check(t, phoenixClient{behaviour, []string{node, script, pkg, carrier, behaviour}})
					})
				}
			})
		}
	}
}

// phoenixClient is a script about to show one behaviour.
type phoenixClient struct {
	behaviour string
	command   []string
}

func (c phoenixClient) start(t *testing.T, urls ...string) *process {
	t.Helper()
	return start(t, exec.Command(c.command[0], append(c.command[1:], urls...)...))
}

func (c phoenixClient) wait(t *testing.T, p *process) {
	t.Helper()
	if err := p.wait(t); err != nil {
		t.Errorf("%s: %v", c.behaviour, err)
	}
}

func (c phoenixClient) run(t *testing.T, urls ...string) {
	t.Helper()
	c.wait(t, c.start(t, urls...))
}

// A client that may fall back to polls does, where no WebSocket gets through.
func TestPhoenixClientFallsBackBehindAProxy(t *testing.T) {
	node := need.Program(t, "node")
	s := serve(t)
	front := "http://" + nginxProduct.front(t, reserve(t), inServer(shown(t, "no-upgrade.conf")), s.addr)
	for _, pkg := range []string{"phoenix-1.7", "phoenix"} {
		need.Path(t, "node_modules/"+pkg, "run make deps")
		behaviours := []string{"joins", "pushes and is replied to"}
		if pkg == "phoenix-1.7" {
			behaviours = behaviours[1:] // it joins twice when it falls back, and hears of the end of the first join
		}
		for _, behaviour := range behaviours {
			t.Run(pkg+"/"+behaviour, func(t *testing.T) {
				t.Parallel()
				phoenixClient{behaviour, []string{node, "phoenix.mjs", pkg, "fallback", behaviour}}.run(t, front)
			})
		}
	}
}
