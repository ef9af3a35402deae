package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// pushers are pages of chime.js, one on each transport, that push numbers into a room of
// their own.
type pushers []*pusher

type pusher struct {
	transport string
	stop      io.Closer
	lines     *bufio.Scanner
	wait      func() error
}

// startPushers has them begin at a URL, and returns when each has been answered once.
func startPushers(t *testing.T, url string) pushers {
	t.Helper()
	node := need.Program(t, "node")
	need.Path(t, "../../internal/e2e/node_modules/ws", "run make deps")
	var all pushers
	for _, transport := range []string{"websocket", "sse", "longpoll"} {
		c := exec.CommandContext(t.Context(), node, "rolling.mjs", transport, url)
		c.Dir = "../../internal/e2e"
		c.Stderr = t.Output()
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		p := &pusher{transport, in, bufio.NewScanner(out), c.Wait}
		p.lines.Buffer(nil, 1<<20)
		if !p.lines.Scan() || p.lines.Text() != "pushing" {
			t.Fatalf("pushes on %s: got %q, want that they begin", transport, p.lines.Text())
		}
		all = append(all, p)
	}
	return all
}

// wantAllDone wants that each push was answered, and came once and in order.
func (ps pushers) wantAllDone(t *testing.T) {
	t.Helper()
	for _, p := range ps {
		_ = p.stop.Close()
		var got struct {
			Pushed int
			Heard  []int
			Failed map[int]string
		}
		if !p.lines.Scan() || json.Unmarshal(p.lines.Bytes(), &got) != nil {
			t.Errorf("pushes on %s: got %q, want what became of them", p.transport, p.lines.Text())
		}
		if err := p.wait(); err != nil {
			t.Errorf("pushes on %s: %v", p.transport, err)
		}
		if len(got.Failed) > 0 {
			t.Errorf("pushes on %s: got %v, want all answered", p.transport, got.Failed)
		}
		for i, n := range got.Heard {
			if n != i+1 {
				t.Errorf("pushes on %s: heard %d after %d others, want %d", p.transport, n, i, i+1)
				break
			}
		}
		if len(got.Heard) != got.Pushed {
			t.Errorf("pushes on %s: %d were heard, want %d", p.transport, len(got.Heard), got.Pushed)
		}
		t.Logf("%d pushes on %s", got.Pushed, p.transport)
	}
}
