package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

var quickstartFile = regexp.MustCompile("(?s)```\\w+ ([\\w.]+)\n(.*?)\n```")

// followQuickstart does what the page says up to "go run .", to the letter but for the
// port, and returns what it builds.
func followQuickstart(t *testing.T, addr string) (program string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/quickstart.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	seen := map[string]bool{}
	for _, f := range quickstartFile.FindAllStringSubmatch(string(text), -1) {
		if seen[f[1]] {
			t.Errorf("the page shows %s twice: want it as it stays", f[1])
		}
		seen[f[1]] = true
		content := strings.ReplaceAll(f[2], "127.0.0.1:4000", addr)
		if err := os.WriteFile(filepath.Join(dir, f[1]), []byte(content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program = filepath.Join(dir, "chat.exe")
	for _, args := range [][]string{
		{"mod", "init", "example.com/chat"},
		{"mod", "edit", "-replace", "github.com/go-chime/chime=" + root},
		{"mod", "tidy"},
		{"test", "."},
		{"build", "-o", program, "."},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return program
}

// freePort is one that nobody listens on, of this machine.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// The quickstart, followed to the letter: two people log in and chat under the names of
// their sessions, and a server that has forgotten them shows the login.
func TestChromiumChatsAsTheQuickstartSays(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	port := freePort(t)
	program := followQuickstart(t, "127.0.0.1:"+port)
	serve := func() *process {
		s := start(t, exec.Command(program))
		poll(t, "the server", func() bool {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		}, s.output)
		return s
	}
	s := serve()
	b := browse(t)
	enter := func(host, name string) *page {
		p := b.open(t, "http://"+host+":"+port+"/")
		p.write(t, "[name=name]", name)
		p.click(t, "button")
		p.until(t, name+"'s page", "document.querySelector('#log')")
		return p
	}
	ann, bob := enter("127.0.0.1", "Ann"), enter("localhost", "Bob") // cookies are of a host
	say := func(p *page, text string) {
		p.write(t, "#text", text)
		p.click(t, "#form button")
	}
	reads := func(p *page, lines ...string) {
		t.Helper()
		p.until(t, fmt.Sprint(lines), "[...document.querySelectorAll('li')].map((l) => l.textContent).join() === arguments[0]", strings.Join(lines, ","))
	}
	say(ann, "hello")
	reads(bob, "Ann: hello")
	say(bob, "<b>ho</b>")
	reads(ann, "Ann: hello", "Bob: <b>ho</b>")
	bob.run(t, `import("/socket/chime.js").then(({ Socket }) => {
		const room = new Socket("/socket").channel("chat_room:lobby")
		return room.join().then(() => room.push("message_new", { from: "Ann", text: "I am Ann" }))
	})`, nil)
	reads(ann, "Ann: hello", "Bob: <b>ho</b>", "Bob: I am Ann")
	again := b.open(t, "http://127.0.0.1:"+port+"/") // Ann, in a second window
	reads(again, "Ann: hello", "Bob: <b>ho</b>", "Bob: I am Ann")

	if err := s.interrupt(t); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	serve()
	bob.until(t, "the login", "document.querySelector('[name=name]')")
	again.until(t, "the login", "document.querySelector('[name=name]')")
	if errs := b.uncaught(t); len(errs) > 0 {
		t.Errorf("uncaught in the pages: %q", errs)
	}
}
