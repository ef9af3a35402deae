package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/transport/transporttest"
)

// A page of chime.js gets through each network that lets anything through, stays on a
// transport that does, and each of its messages is answered once and in order. Where
// nothing gets through it is told so. How long the first message took is logged, and
// is in docs/networks.md.
func TestChimeGetsThroughEachNetwork(t *testing.T) {
	node := need.Program(t, "node")
	need.Path(t, "node_modules/ws", "run make deps")
	for _, network := range transporttest.Networks() {
		t.Run(network.Name, func(t *testing.T) {
			t.Parallel()
			s := openSite(t)
			box := network.Start(s.desk)
			t.Cleanup(box.Close) // before the site's end
			cmd := exec.Command(node, append([]string{"networks.mjs", box.URL}, network.Passes...)...)
			cmd.Env = append(os.Environ(), "NODE_TLS_REJECT_UNAUTHORIZED=0")
			p := start(t, cmd)
			var got struct {
				MS        int
				Transport string
				Heard     []string `json:"told"`
				Answered  []int
			}
			if err := json.Unmarshal([]byte(p.line(t, regexp.MustCompile(`^result: (.*)`))[1]), &got); err != nil {
				t.Fatal(err)
			}
			switch {
			case network.Passes == nil:
				if len(got.Heard) == 0 {
					t.Error("the page was told nothing, want an error")
				}
			case !slices.Contains(network.Passes, got.Transport), !slices.Equal(got.Answered, count(1, len(got.Answered))), len(got.Answered) < 11:
				t.Errorf("got %+v, want each message answered once, and one of the transports %q", got, network.Passes)
			}
			t.Logf("the first message after %d ms, on %s; told %q", got.MS, got.Transport, got.Heard)
		})
	}
}
