package e2e

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// The clients as npm has them; the versions are in package.json.
var phoenixes = []string{"phoenix", "phoenix-1.7"}

func TestPhoenixClient(t *testing.T) {
	node := need.Program(t, "node")
	for _, pkg := range append(phoenixes, "ws") {
		need.Path(t, "node_modules/"+pkg, "run make deps")
	}
	// The script knows its behaviours, and each is a test here.
	list := start(t, exec.Command(node, "phoenix.mjs", phoenixes[0], "list", ""))
	var behaviours []string
	if err := json.Unmarshal([]byte(list.line(t, regexp.MustCompile(`^behaviours: (.*)`))[1]), &behaviours); err != nil {
		t.Fatal(err)
	}
	for _, pkg := range phoenixes {
		t.Run(pkg, func(t *testing.T) {
			for _, behaviour := range behaviours {
				t.Run(behaviour, func(t *testing.T) {
					s := serve(t)
					client := start(t, exec.Command(node, "phoenix.mjs", pkg, behaviour, s.url))
					if behaviour == "comes back after a restart of the server" {
						client.line(t, regexp.MustCompile(`^restart$`))
						s.restart(t)
					}
					if err := client.wait(t); err != nil {
						t.Errorf("%s: %v", behaviour, err)
					}
				})
			}
		})
	}
}
