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
		"chime.d.ts", "test/types/ok.ts", "test/types/bad.ts")
}

func TestTypesNameWhatTheModuleExports(t *testing.T) {
	values := regexp.MustCompile(`(?m)^export (?:class|const|function) (\w+)`)
	exports, typed := names(values, Module), names(values, Types)
	if len(exports) == 0 || !slices.Equal(exports, typed) {
		t.Errorf("chime.js exports %q, chime.d.ts declares %q", exports, typed)
	}
	if all := regexp.MustCompile(`(?m)^export`).FindAll(Module, -1); len(all) != len(exports) {
		t.Errorf("chime.js has %d exports, of which this test knows %q", len(all), exports)
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

// A module that imports something would need a build, or a second file to serve.
func TestModuleImportsNothing(t *testing.T) {
	if found := regexp.MustCompile(`(?m)^\s*import\b|\bimport\(|\brequire\(`).Find(Module); found != nil {
		t.Errorf("chime.js has %q", found)
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
