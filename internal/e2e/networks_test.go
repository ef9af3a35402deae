package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/transport/transporttest"
)

// A page of chime.js gets through each network that lets anything through, stays on a
// transport that does, is told what was said before, and each of its messages is answered
// and heard once and in order. Where nothing gets through it is told so. How long the first
// answer took is logged, and is in docs/networks.md.
func TestChimeGetsThroughEachNetwork(t *testing.T) {
	node := need.Program(t, "node")
	need.Path(t, "node_modules/ws", "run make deps")
	for _, network := range transporttest.Networks() {
		t.Run(network.Name, func(t *testing.T) {
			if !inTime {
				t.Parallel()
			}
			c := converse(t, network)
			cmd := exec.Command(node, append([]string{"networks.mjs", c.box.URL, c.topic}, network.Passes...)...)
			cmd.Env = append(os.Environ(), "NODE_TLS_REJECT_UNAUTHORIZED=0")
			text := start(t, cmd).line(t, regexp.MustCompile(`^result: (.*)`))[1]
			c.want(t, []byte(text))
		})
	}
}

// The same in a browser, whose pages come through the network, too; but for the one that lets nothing
// through. All pages are open at once.
func TestChromiumGetsThroughEachNetwork(t *testing.T) {
	b := browse(t, "--ignore-certificate-errors")
	home := b.open(t, "about:blank") // a session ends with its last window, and another is opened from one that is there
	var open []func()
	for _, network := range transporttest.Networks() {
		c := converse(t, network)
		from := c.box.URL
		if network.Passes == nil {
			from = c.site.desk
		}
		home.front(t)
		p := b.open(t, from+"/")
		p.run(t, `
			const [url, topic, transports] = arguments
			Promise.all([import("/socket/chime.js"), import("/script/conversation.mjs")])
				.then(([{ Socket }, { converse }]) => converse(new Socket(url, { token: "Ada" }), topic, transports))
				.then((result) => { window.result = result }, (error) => { window.result = { told: [String(error)] } })`,
			nil, c.box.URL+"/socket", c.topic, append([]string{}, network.Passes...))
		end := func() {
			t.Run(network.Name, func(t *testing.T) {
				p.until(t, "the end of the conversation", "window.result")
				var result json.RawMessage
				p.run(t, "return result", &result)
				p.close(t)
				c.want(t, result)
			})
		}
		if inTime {
			end()
		} else {
			open = append(open, end)
		}
	}
	for _, end := range open {
		end()
	}
}

// conversation is one of conversation.mjs, through a network.
type conversation struct {
	network transporttest.Network
	site    *site
	box     *transporttest.Box
	topic   string
}

// converse sets up a network, and a room where something was said before.
func converse(t *testing.T, network transporttest.Network) *conversation {
	t.Helper()
	c := &conversation{network: network, site: openSite(t), topic: "room:" + network.Name}
	c.box = network.Start(c.site.desk)
	t.Cleanup(c.box.Close) // before the site's end
	for n := range 3 {
		if err := c.site.router().Broadcast(t.Context(), c.topic, "message_new", map[string]int{"n": n + 1}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// want checks what a page has to tell.
func (c *conversation) want(t *testing.T, result []byte) {
	t.Helper()
	var got struct {
		MS              int
		Transport       string
		Errors          []string `json:"told"`
		Answered, Heard []int
	}
	if err := json.Unmarshal(result, &got); err != nil {
		t.Fatal(err)
	}
	t.Logf("talks on %s; was told %q", got.Transport, got.Errors)
	passes := c.network.Passes
	switch last := 3 + len(got.Answered); {
	case passes == nil:
		if len(got.Errors) == 0 {
			t.Error("the page was told nothing, want an error")
		}
	case !slices.Contains(passes, got.Transport), len(got.Answered) < 11,
		!slices.Equal(got.Answered, count(4, last)), !slices.Equal(got.Heard, count(1, last)):
		t.Errorf("got %+v, want each message answered once, and heard with those before, and one of the transports %q", got, passes)
	default:
		wantWithin(t, "the first answer", time.Duration(got.MS)*time.Millisecond, toFirst(passes))
	}
}
