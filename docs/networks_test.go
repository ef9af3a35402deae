package docs_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/go-chime/chime/transport/transporttest"
)

var networkRow = regexp.MustCompile("(?m)^\\| `([a-z0-9.-]+)` \\| ([^|]+) \\| [^|]+ \\| ([^|]+) \\|$")

// TestDocumentsHaveEachNetwork holds the table of networks.md to the code.
func TestDocumentsHaveEachNetwork(t *testing.T) {
	t.Chdir("..")
	rows := networkRow.FindAllStringSubmatch(docProse(t, "docs/networks.md"), -1)
	all := transporttest.Networks()
	if len(rows) != len(all) {
		t.Fatalf("got %d rows, want %d", len(rows), len(all))
	}
	for i, n := range all {
		passes := "none"
		if n.Passes != nil {
			passes = strings.Join(n.Passes, ", ")
		}
		if got := rows[i]; got[1] != n.Name || got[2] != n.Does || got[3] != passes {
			t.Errorf("row %d: got %q, want %q, %q and %q", i+1, got[1:], n.Name, n.Does, passes)
		}
	}
}
