package e2e

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/need"
)

// TestChimeClientOnASite runs the behaviours of chime.mjs, each on both
// transports of chime.js.
func TestChimeClientOnASite(t *testing.T) {
	node := need.Program(t, "node")
	need.Path(t, "node_modules/ws", "run make deps")
	list := start(t, exec.Command(node, "chime.mjs", "list"))
	var behaviours []string
	if err := json.Unmarshal([]byte(list.line(t, regexp.MustCompile(`^behaviours: (.*)`))[1]), &behaviours); err != nil {
		t.Fatal(err)
	}
	for _, transport := range []string{"websocket", "sse"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := openSite(t, chime.WithLimits(chime.Limits{MessageBytes: 80_000, BatchBytes: 80_128}))
			for _, behaviour := range behaviours {
				t.Run(strings.ReplaceAll(behaviour, " ", "_"), func(t *testing.T) {
					if err := start(t, exec.Command(node, "chime.mjs", behaviour, transport, s.url, s.desk)).wait(t); err != nil {
						t.Errorf("%s: %v", behaviour, err)
					}
				})
			}
		})
	}
}
