package doctor

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// What cuts connections is told from when the quiet one and the busy one ended.
func TestWhatCutsConnectionsIsNamed(t *testing.T) {
	const heartbeat = 15 * time.Second
	stays := life{age: watched, quiet: 5 * time.Second}
	for _, c := range []struct {
		name, proto string
		quiet, busy life
		want        string
	}{
		{"both stay", "HTTP/1.1", stays, stays, ""},
		{"nginx with 5 s", "HTTP/1.1", life{5 * time.Second, 5 * time.Second, true}, stays, cutByIdle},
		{"a clock", "HTTP/1.1", life{30 * time.Second, 15 * time.Second, true}, life{30 * time.Second, 0, true}, cutByAge},
		{"a clock on HTTP/2", "HTTP/2.0", life{16 * time.Second, time.Second, true}, life{16 * time.Second, time.Second, true}, resetOfHTTP2},
		{"chance", "HTTP/1.1", life{40 * time.Second, 10 * time.Second, true}, life{20 * time.Second, 5 * time.Second, true}, cutAtTimes},
		{"only the busy one", "HTTP/1.1", stays, life{20 * time.Second, 5 * time.Second, true}, cutAtTimes},
		{"silence", "HTTP/1.1", life{age: watched, quiet: 45 * time.Second}, life{age: watched, quiet: 45 * time.Second}, halfOpen},
	} {
		x := &exam{findings: &findings{report: &Report{}}}
		x.judge("sse", c.proto, heartbeat, c.quiet, c.busy)
		got := ""
		for _, f := range x.report.Faults {
			got += f.Name
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// A fault without a cure is one that no setting of a proxy causes, or that can be anything.
func TestEveryFaultHasACureButForThese(t *testing.T) {
	without := []string{nothingPasses, foreignAnswer, streamRefused, answersRemade, pollRefused, postsRefused, postsUnanswered, fewConnections, halfOpen}
	known := map[string]bool{}
	for _, name := range FaultNames {
		known[name] = true
		if got, want := len(fixesOf(name)) == 0, slices.Contains(without, name); got != want {
			t.Errorf("%s: got no cures: %t, want %t", name, got, want)
		}
	}
	for name := range cures {
		if !known[name] || len(fixesOf(name)) == 0 {
			t.Errorf("%q: got %v, want a fault with cures", name, fixesOf(name))
		}
	}
}

// What the doctor prescribes for the proxies of docs/deployment.md is what stands there.
func TestCuresAreThoseOfTheDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []cure{upgrades, hosts, patience60} {
		for _, product := range []string{nginx, haproxy, apache, caddy} {
			for _, line := range c[product] {
				if !strings.HasPrefix(line, "#") && !strings.Contains(string(page), "\t"+line+"\n") && !strings.Contains(string(page), "\n"+line+"\n") {
					t.Errorf("%s: docs/deployment.md has no line %q", product, line)
				}
			}
		}
	}
}
