package e2e

import (
	"encoding/json"
	"os/exec"
	"slices"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// inServer is a server of nginx with another location for the mount.
func inServer(location string) string {
	return "server {\nlisten 80;\nlocation / {\nproxy_pass http://127.0.0.1:4000;\nproxy_set_header Host $http_host;\n}\n" + location + "}\n" +
		"map $http_upgrade $connection_upgrade { default upgrade; '' close; }\n"
}

// asItComes is what people write who have read nothing: nginx then sends its own Host.
const asItComes = "server { listen 80; location / { proxy_pass http://127.0.0.1:4000; } }"

// Two people chat through each proxy, with the configurations of docs/deployment.md, both
// ways and with what was said before; and chime doctor finds what each does.
func TestTwoPagesChatThroughProxies(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	home := browse(t).open(t, "about:blank")
	for _, c := range []struct {
		name      string
		product   product
		config    string
		transport string // "" is any, one after the other
		faults    []string
		restarts  bool
		byOrigin  bool // the server is told the origin, since it sees another Host
	}{
		{"nginx", nginxProduct, shown(t, "nginx.conf"), "websocket", []string{"header-limit"}, true, false},
		{"nginx as it comes", nginxProduct, asItComes, "sse", []string{"upgrade-dropped", "header-limit"}, true, true},
		{"nginx without upgrades", nginxProduct, inServer(shown(t, "no-upgrade.conf")), "sse", []string{"upgrade-dropped", "header-limit"}, false, false},
		{"nginx with gzip", nginxProduct, inServer(shown(t, "gzip.conf")), "sse", []string{"upgrade-dropped", "header-limit"}, false, false},
		{"nginx that waits 5 s", nginxProduct, inServer(shown(t, "impatient.conf")), "", []string{"header-limit"}, false, false},
		{"nginx that buffers", nginxProduct, inServer(shown(t, "buffering.conf")), "longpoll", []string{"upgrade-dropped", "answers-held-to-their-end", "header-limit"}, false, false},
		{"HAProxy", haproxyProduct, shown(t, "haproxy.cfg"), "websocket", []string{"header-limit"}, false, false},
		{"HAProxy that waits 5 s", haproxyProduct, shown(t, "impatient.cfg"), "", []string{"header-limit"}, false, false},
		{"Caddy", caddyProduct, shown(t, "Caddyfile"), "websocket", nil, false, false},
		{"Apache", apacheProduct, shown(t, "apache.conf"), "websocket", []string{"header-limit"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var flags []string
			address := reserve(t)
			if c.byOrigin {
				flags = []string{"--origin", "http://" + address.Addr().String()}
			}
			s := serve(t, flags...)
			front := "http://" + c.product.front(t, address, c.config, s.addr)
			var restart func()
			if c.restarts {
				restart = func() { s.restart(t) }
			}
			chatThrough(t, home, front, c.transport, restart)
			wantDiagnosis(t, front, c.faults)
		})
	}
}

// Squid is between people and all servers.
func TestTwoPagesChatThroughSquid(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	s := serve(t)
	proxy := squidProduct.front(t, reserve(t), shown(t, "squid.conf"), s.addr)
	b := browse(t, "--proxy-server=http://"+proxy, "--proxy-bypass-list=<-loopback>") // which is not excepted
	chatThrough(t, b.open(t, "about:blank"), s.url, "sse", nil)
}

// chatThrough opens two pages beside home, which stays: a browser ends with its last page.
func chatThrough(t *testing.T, home *page, front, transport string, restart func()) {
	t.Helper()
	b := home.browser
	ada := enter(t, b, front, "lobby", "Ada")
	ada.say(t, "is anybody there?")
	bob := enter(t, b, front, "lobby", "Bob")
	bob.reads(t, "is anybody there?") // said before
	ada.reads(t, "Bob has joined")
	ada.say(t, "hello through it")
	bob.reads(t, "hello through it")
	bob.say(t, "and back")
	for _, c := range []*chatter{ada, bob} {
		c.reads(t, "and back")
		c.wantOnce(t, "is anybody there?", "hello through it", "and back")
		if transport != "" {
			c.uses(t, transport)
		}
	}
	bob.close(t)
	ada.reads(t, "Bob has left")
	if restart != nil { // a server that goes away behind a proxy that stays
		ada.watch(t)
		restart()
		ada.comesBack(t)
		ada.say(t, "back again")
		ada.reads(t, "back again")
	}
	ada.close(t)
	home.front(t)
	if errs := b.uncaught(t); len(errs) > 0 {
		t.Errorf("the page's script failed: %q", errs)
	}
}

// wantDiagnosis has chime doctor look at a mount, quickly.
func wantDiagnosis(t *testing.T, front string, want []string) {
	t.Helper()
	out, err := exec.Command(program(t), "doctor", "--quick", "--json", front+"/socket").Output()
	var report struct {
		Faults  []struct{ Name, Says string }
		Verdict string
	}
	if failed := json.Unmarshal(out, &report); failed != nil {
		t.Fatalf("chime doctor: %v: %v", err, failed)
	}
	var names []string
	for _, f := range report.Faults {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("chime doctor: got %+v, want %q", report, want)
	}
}
