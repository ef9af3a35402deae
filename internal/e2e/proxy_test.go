package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// product is a program that stands between clients and a server.
type product struct {
	program []string // one of them
	frame   string   // of a configuration: what a machine adds, in a folder DIR, to CONFIG
	args    []string
}

// The frames keep each to one process in the foreground, which writes into the folder of
// the test and ends with it.
var (
	nginxProduct = product{[]string{"nginx"}, `
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
			CONFIG
		}
	`, []string{"-e", "stderr", "-p", "DIR", "-c", "FILE"}}

	haproxyProduct = product{[]string{"haproxy"}, "CONFIG", []string{"-db", "-f", "FILE"}}

	caddyProduct = product{[]string{"caddy"}, "{\n\tadmin off\n\tauto_https off\n}\nCONFIG", []string{"run", "--config", "FILE", "--adapter", "caddyfile"}}

	apacheProduct = product{[]string{"apache2", "httpd"}, `
		ServerRoot DIR
		ServerName localhost
		PidFile DIR/apache.pid
		ErrorLog /dev/stderr
		Listen ADDRESS
		USER
		LoadModule mpm_event_module MODULES/mod_mpm_event.so
		LoadModule authz_core_module MODULES/mod_authz_core.so
		LoadModule proxy_module MODULES/mod_proxy.so
		LoadModule proxy_http_module MODULES/mod_proxy_http.so
		CONFIG
	`, []string{"-X", "-f", "FILE"}}

	squidProduct = product{[]string{"squid"}, `
		pid_filename none
		cache_log /dev/stderr
		access_log none
		cache deny all
		shutdown_lifetime 0
		visible_hostname localhost
		CONFIG
	`, []string{"-N", "-f", "FILE"}}
)

// shown returns a configuration that docs/deployment.md shows.
func shown(t testing.TB, file string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```\\w+ " + regexp.QuoteMeta(file) + "\n(.*?)^```$").FindSubmatch(page)
	if block == nil {
		t.Fatalf("docs/deployment.md shows no %s", file)
	}
	return string(block[1])
}

// front starts a product with a configuration in front of a server, and returns its
// address, which was reserved.
func (p product) front(t testing.TB, at net.Listener, config, upstream string) string {
	t.Helper()
	path := need.Program(t, p.program...)
	address := at.Addr().String()
	dir := t.TempDir()
	text := strings.NewReplacer(
		"127.0.0.1:4000", upstream, "chat.example.com {", "http://"+address+" {", // Caddy
		"listen 80;", "listen "+address+";", // nginx
		"bind :80", "bind "+address, // HAProxy
		"*:80>", address+">", // Apache
		"http_port 3128", "http_port "+address, // Squid
	).Replace(config)
	run := ""
	if me, err := user.Current(); err == nil && me.Uid == "0" {
		run = "User www-data\nGroup www-data"
	}
	text = strings.NewReplacer("CONFIG", text, "DIR", dir, "ADDRESS", address, "USER", run, "MODULES", "/usr/lib/apache2/modules").Replace(p.frame)
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, arg := range p.args {
		args = append(args, strings.NewReplacer("DIR", dir, "FILE", file).Replace(arg))
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if err := at.Close(); err != nil {
		t.Fatal(err)
	}
	running := start(t, cmd)
	poll(t, p.program[0]+" to listen", func() bool {
		select {
		case <-running.done:
			t.Fatalf("%s ended: %v", p.program[0], running.err)
		default:
		}
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	}, func() string { return fmt.Sprintf("nobody listens on %s", address) })
	return address
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
