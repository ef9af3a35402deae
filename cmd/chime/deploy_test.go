package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// In deploy and in what the pages tell people to type there are flags of chime serve that it
// has, and that make sense together.
func TestDeployedCommandsAreTaken(t *testing.T) {
	page := func(file string) string {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var commands [][]string
	for _, file := range []string{"README.md", "docs/deployment.md", "docs/operations.md", "docs/brokers.md"} {
		for line := range strings.Lines(page(file)) {
			if words := strings.Fields(strings.TrimPrefix(line, "$ ")); len(words) > 2 && words[0] == "chime" && words[1] == "serve" {
				commands = append(commands, words[2:])
			}
		}
	}
	for _, list := range regexp.MustCompile(`command: \["serve", (.*)\]`).FindAllStringSubmatch(page("deploy/compose.yaml"), -1) {
		commands = append(commands, strings.Split(strings.ReplaceAll(list[1], `"`, ""), ", "))
	}
	pod := page("deploy/kubernetes/chime.yaml")
	_, pod, _ = strings.Cut(pod, "            - serve\n")
	pod, _, _ = strings.Cut(pod, "          env:\n")
	pod = strings.NewReplacer("            - ", "", "$(POD_IP)", "10.0.0.7", "$(BROKER)", "redis://redis:6379").Replace(pod)
	commands = append(commands, strings.Fields(pod))
	if len(commands) < 8 {
		t.Fatalf("got %q, want all commands", commands)
	}
	for _, args := range commands {
		var s serving
		c := serveCommandOf(&s)
		err := c.ParseFlags(args)
		if err == nil {
			err = s.check(c.Flags().Changed)
		}
		if err != nil || len(c.Flags().Args()) > 0 {
			t.Errorf("%q: got %v and %q, want flags that are taken", args, err, c.Flags().Args())
		}
	}
}

// How long a pod may take to end is more than what it takes.
func TestAPodHasTheTimeToDrain(t *testing.T) {
	text, err := os.ReadFile("../../deploy/kubernetes/chime.yaml")
	if err != nil {
		t.Fatal(err)
	}
	number := func(pattern string) (n int) {
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		if m == nil {
			t.Fatalf("no %s", pattern)
		}
		for _, d := range m[1] {
			n = 10*n + int(d-'0')
		}
		return n
	}
	grace, wait := number(`terminationGracePeriodSeconds: (\d+)`), number(`sleep:\n\s+seconds: (\d+)`)
	if most := wait + int((stopTime + lastTime).Seconds()) + 2; grace < most+5 {
		t.Errorf("got %d s, want some more than %d", grace, most)
	}
}

// nginx and HAProxy take the configurations, with addresses instead of the nodes' names.
func TestDeployedProxiesTakeTheirConfiguration(t *testing.T) {
	dir := t.TempDir()
	local := regexp.MustCompile(`\bnode([123]):4000`)
	write := func(from, to string) string {
		text, err := os.ReadFile(filepath.Join("../../deploy", from))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(local.FindAll(text, -1)); n != 3 {
			t.Errorf("%s: got %d nodes, want 3", from, n)
		}
		file := filepath.Join(dir, to)
		if err := os.WriteFile(file, local.ReplaceAll(text, []byte("127.0.0.$1:4000")), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, tt := range []struct {
		name string
		args func() []string
	}{
		{"nginx", func() []string {
			site := write("nginx.conf", "site.conf")
			file := filepath.Join(dir, "nginx.conf")
			whole := "pid " + dir + "/pid; events {} http { access_log off; include " + site + "; }"
			if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{"-t", "-q", "-p", dir, "-e", "stderr", "-c", file}
		}},
		{"haproxy", func() []string { return []string{"-c", "-q", "-f", write("haproxy.cfg", "haproxy.cfg")} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			cmd := exec.Command(need.Program(t, tt.name), tt.args()...)
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Errorf("%v: %s", err, &out)
			}
		})
	}
}
