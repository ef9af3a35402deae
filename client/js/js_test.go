package js

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-chime/chime/internal/need"
)

// What puts into test/node_modules what the tests need.
const install = "run npm install --no-package-lock in client/js/test"

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
	need.Path(t, "test/node_modules/typescript", install)
	run(t, node, "test/node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--exactOptionalPropertyTypes",
		"--target", "es2022", "--lib", "es2022,dom", "--types", "", "--module", "esnext", "--moduleResolution", "bundler",
		"chime.d.ts", "phoenix-stream.d.ts", "test/types/ok.ts", "test/types/bad.ts", "test/types/phoenix.ts")
}

// untyped are exported by chime.js for phoenix-stream.js alone: without types
// nobody takes them for a part of the API.
var untyped = []string{"Pauses", "StreamLink"}

func TestTypesNameWhatTheModulesExport(t *testing.T) {
	values := regexp.MustCompile(`(?m)^export (?:class|const|function) (\w+)`)
	together := regexp.MustCompile(`(?m)^export \{ (.*) \};$`).FindSubmatch(Module)
	if together == nil {
		t.Fatal("chime.js exports nothing")
	}
	for _, m := range []struct {
		name    string
		module  []byte
		exports []string
		types   []byte
	}{
		{"chime", Module, strings.Split(string(together[1]), ", "), Types},
		{"phoenix-stream", PhoenixStream, names(values, PhoenixStream), PhoenixStreamTypes},
	} {
		all := regexp.MustCompile(`(?m)^export`).FindAll(m.module, -1)
		if want := len(names(values, m.module)) + bytes.Count(m.module, []byte("\nexport { ")); len(all) != want {
			t.Errorf("%s.js has %d exports, of which this test knows %d", m.name, len(all), want)
		}
		exports := slices.DeleteFunc(m.exports, func(name string) bool { return slices.Contains(untyped, name) })
		slices.Sort(exports)
		if typed := names(values, m.types); len(exports) == 0 || !slices.Equal(exports, typed) {
			t.Errorf("%s.js exports %q, %s.d.ts declares %q", m.name, exports, m.name, typed)
		}
	}
}

// TestJoinedModule: what a Router serves is what the modules in src are together.
func TestJoinedModule(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^(?:export )?(?:async )?(?:class|const|let|function\*?) (\w+)`)
	together := names(declared, Module)
	var apart []string
	sources, err := filepath.Glob("src/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range sources {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		apart = append(apart, names(declared, text)...)
	}
	slices.Sort(apart)
	if len(apart) == 0 || !slices.Equal(apart, together) {
		t.Errorf("the modules in src declare %q, chime.js %q", apart, together)
	}
	if once := slices.Compact(apart); len(once) != len(together) {
		t.Errorf("two modules in src declare the same name, of %q", together)
	}
	node := need.Program(t, "node")
	joined := filepath.Join(t.TempDir(), "chime.mjs")
	if err := os.WriteFile(joined, Module, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, node, "--input-type=module", "--eval", `
		const [joined, apart] = await Promise.all([import("`+filepath.ToSlash(joined)+`"), import("./chime.js")]);
		const [a, b] = [joined, apart].map((module) => Object.keys(module).sort().join());
		if (a !== b) throw new Error(a + " instead of " + b);
		new joined.Socket("https://chat.test").channel("room:1");`)
}

// TestSize: what a page loads is small, behind a server that compresses and an application that minifies.
func TestSize(t *testing.T) {
	const most = 152 << 10 / 10 // of which presence, drafts, older pages and keys take 1 KiB, and what tabs share 0.6
	node := need.Program(t, "node")
	need.Path(t, "test/node_modules/esbuild", install)
	minify := exec.CommandContext(t.Context(), node, "--eval", `
		const { code } = require("esbuild").transformSync(require("fs").readFileSync(0, "utf8"), { minify: true, format: "esm", target: "es2022" });
		process.stdout.write(code);`)
	minify.Dir, minify.Stdin, minify.Stderr = "test", bytes.NewReader(Module), os.Stderr
	minified, err := minify.Output()
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if _, err := w.Write(minified); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, minified %d, and compressed %d", len(Module), len(minified), packed.Len())
	if packed.Len() > most {
		t.Errorf("chime.js has %d bytes, minified and compressed, want %d at most", packed.Len(), most)
	}
}

func TestJoinPanics(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{`import { b } from "./b.js";`, `import { a } from "./a.js";`, "import each other"},
		{`import { b } from "./c.js";`, ``, "c.js"},
		{`import b from "./b.js";`, ``, "import b"},
		{`export default class {}`, ``, "export default"},
	} {
		files := fstest.MapFS{
			"entry.js": {Data: []byte("export { a } from \"./a.js\";\n")},
			"a.js":     {Data: []byte(c.a + "\n")},
			"b.js":     {Data: []byte(c.b + "\n")},
		}
		func() {
			defer func() {
				if r := recover(); !strings.Contains(fmt.Sprint(r), c.want) {
					t.Errorf("%s: %v, want a panic that says %q", c.a, r, c.want)
				}
			}()
			join(files, "entry.js")
		}()
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
	sibling := `import { ` + strings.Join(untyped, ", ") + ` } from "./chime.js";`
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
