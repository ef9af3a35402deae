package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// Two people chat through nginx as people set it up: without a word about
// WebSockets, and with the lines its manual gives for them. In both nginx
// rewrites Host, and a browser says with a WebSocket only its Origin: without the
// flag the second ends on the stream.
func TestNginxTwoPagesChat(t *testing.T) {
	need.Program(t, "nginx")
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	for _, as := range []struct {
		name, location, transport string
	}{
		{"not forwarding upgrades", "", "sse"},
		{"forwarding upgrades", `
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection $connection_upgrade;`, "websocket"},
	} {
		t.Run(as.name, func(t *testing.T) {
			address := reserve(t)
			s := serve(t, "--origin", "http://"+address.Addr().String())
			front := nginx(t, address, s.addr, as.location)

			b := browse(t)
			ada := enter(t, b, front, "lobby", "Ada")
			ada.uses(t, as.transport)
			bob := enter(t, b, front, "lobby", "Bob")
			bob.uses(t, as.transport)
			ada.reads(t, "Bob has joined")
			ada.say(t, "hello through nginx")
			bob.reads(t, "hello through nginx")
			bob.say(t, "and back")
			for _, c := range []*chatter{ada, bob} {
				c.reads(t, "and back")
				c.wantOnce(t, "hello through nginx", "and back")
			}
			bob.close(t)
			ada.reads(t, "Bob has left")
			// A server that goes away behind a proxy that stays.
			ada.watch(t)
			s.restart(t)
			ada.comesBack(t)
			ada.say(t, "back again")
			ada.reads(t, "back again")
			if errs := b.uncaught(t); len(errs) > 0 {
				t.Errorf("the page's script failed: %q", errs)
			}
		})
	}
}

// reserve holds a port for a program that cannot pick one itself, until it is
// closed for that program to take it.
func reserve(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", need.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // it is closed already, unless the test failed before
	return l
}

// nginx starts nginx in front of upstream and returns its URL. location is put
// where a site says what it wants of a proxied location; all else is nginx's
// default, buffering included.
func nginx(t testing.TB, at net.Listener, upstream, location string) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	text := strings.NewReplacer("DIR", dir, "LISTEN", at.Addr().String(), "UPSTREAM", upstream, "LOCATION", location).Replace(`
		# One process: no other user to become, and nothing that outlives the test.
		daemon off;
		master_process off;
		pid DIR/nginx.pid;
		error_log stderr warn;
		events {}
		http {
			access_log off;
			client_body_temp_path DIR/body;
			proxy_temp_path DIR/proxy;
			fastcgi_temp_path DIR/fastcgi;
			uwsgi_temp_path DIR/uwsgi;
			scgi_temp_path DIR/scgi;
			map $http_upgrade $connection_upgrade { default upgrade; '' close; }
			server {
				listen LISTEN;
				location / {
					proxy_pass http://UPSTREAM;LOCATION
				}
			}
		}
	`)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := at.Close(); err != nil {
		t.Fatal(err)
	}
	p := start(t, exec.Command(need.Program(t, "nginx"), "-e", "stderr", "-p", dir, "-c", config))
	url := "http://" + at.Addr().String()
	poll(t, "nginx to pass requests on", func() bool {
		select {
		case <-p.done:
			t.Fatalf("nginx ended: %v", p.err)
		default:
		}
		res, err := plain.Get(url + "/healthz")
		if err != nil {
			return false
		}
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	}, func() string { return fmt.Sprintf("no answer from %s", url) })
	return url
}
