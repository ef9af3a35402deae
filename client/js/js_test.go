package js

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
}

func TestModule(t *testing.T) {
	node := need.Program(t, "node")
	files, err := filepath.Glob("test/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("test/*.test.mjs: %v, %v", files, err)
	}
	run(t, node, append([]string{"--test", "--test-reporter=spec"}, files...)...)
}

// TestTypes compiles a file that uses every type as meant, and one in which every misuse must be refused.
func TestTypes(t *testing.T) {
	node := need.Program(t, "node")
	need.Path(t, "test/node_modules/typescript", "run npm install --no-package-lock in client/js/test")
	run(t, node, "test/node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--exactOptionalPropertyTypes",
		"--target", "es2022", "--lib", "es2022,dom", "--types", "", "--module", "esnext", "--moduleResolution", "bundler",
		"chime.d.ts", "phoenix-stream.d.ts", "test/types/ok.ts", "test/types/bad.ts", "test/types/phoenix.ts")
}

// untyped is exported by chime.js for phoenix-stream.js alone: without types
// nobody takes it for a part of the API.
const untyped = "StreamLink"

func TestTypesNameWhatTheModulesExport(t *testing.T) {
	values := regexp.MustCompile(`(?m)^export (?:class|const|function) (\w+)`)
	for _, m := range []struct {
		name          string
		module, types []byte
	}{
		{"chime", Module, Types},
		{"phoenix-stream", PhoenixStream, PhoenixStreamTypes},
	} {
		exports, typed := names(values, m.module), names(values, m.types)
		if all := regexp.MustCompile(`(?m)^export`).FindAll(m.module, -1); len(all) != len(exports) {
			t.Errorf("%s.js has %d exports, of which this test knows %q", m.name, len(all), exports)
		}
		exports = slices.DeleteFunc(exports, func(name string) bool { return name == untyped })
		if len(exports) == 0 || !slices.Equal(exports, typed) {
			t.Errorf("%s.js exports %q, %s.d.ts declares %q", m.name, exports, m.name, typed)
		}
	}
}

func TestOkUsesEveryType(t *testing.T) {
	ok, err := os.ReadFile("test/types/ok.ts")
	if err != nil {
		t.Fatal(err)
	}
	imports, _, _ := strings.Cut(string(ok), `from "../../chime.js"`)
	for _, name := range names(regexp.MustCompile(`(?m)^export (?:class|const|function|interface|type) (\w+)`), Types) {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(imports) {
			t.Errorf("test/types/ok.ts does not use %s", name)
		}
	}
}

// A module that imports something would need a build. What stands beside it on
// the same mount needs none.
func TestModulesImportNothing(t *testing.T) {
	imports := regexp.MustCompile(`(?m)^\s*import\b.*|\bimport\(|\brequire\(`)
	if found := imports.Find(Module); found != nil {
		t.Errorf("chime.js has %q", found)
	}
	sibling := `import { ` + untyped + ` } from "./chime.js";`
	if found := imports.FindAll(PhoenixStream, -1); len(found) != 1 || string(found[0]) != sibling {
		t.Errorf("phoenix-stream.js has %q, want %q alone", found, sibling)
	}
}

func names(re *regexp.Regexp, text []byte) []string {
	var found []string
	for _, match := range re.FindAllSubmatch(text, -1) {
		found = append(found, string(match[1]))
	}
	slices.Sort(found)
	return found
}
