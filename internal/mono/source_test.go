package mono

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wall are what makes wall time of a moment, which then measures an interval
// wrongly when the clock is set.
var wall = []string{"Unix", "UnixNano", "UnixMicro", "UnixMilli", "Round", "Truncate"}

// TestNoIntervalIsMeasuredByTheWallClock reads the packages that time connections.
// An identity's expiry is the one moment that comes from outside.
func TestNoIntervalIsMeasuredByTheWallClock(t *testing.T) {
	read := 0
	for _, dir := range []string{"../server", "../clientsocket", "../dialect", "../flush", "../nonblock", "../queue", "../../transport"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || filepath.ToSlash(name) == "../clientsocket/expiry.go" {
				continue
			}
			files := token.NewFileSet()
			parsed, err := parser.ParseFile(files, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			read++
			ast.Inspect(parsed, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(wall, sel.Sel.Name) {
					t.Errorf("%s: %s is wall time, which jumps when the clock is set: use an Instant", files.Position(sel.Pos()), sel.Sel.Name)
				}
				return true
			})
		}
	}
	if read < 30 {
		t.Errorf("read %d files, want all of the packages that time connections", read)
	}
}
