package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The documents are held to the code: what they show compiles and passes, what
// they link to is there, and a test that they name exists.

// TestDocumentsShowCodeThatWorks builds the Go of each document as one package,
// and runs the tests among it. A block whose fence names a file ("go main.go",
// "html index.html") is that file; where it is shown a second time, what was
// shown until then is a package too. Any other block of Go is a file of the
// package without its imports, or a piece of a function, with the variables of
// docFragment at hand.
func TestDocumentsShowCodeThatWorks(t *testing.T) {
	t.Chdir("..")
	dir := t.TempDir()
	docModule(t, dir)
	for _, doc := range documents(t) {
		blocks := docCode(t, doc)
		at := filepath.Join(dir, strings.TrimSuffix(filepath.Base(doc), ".md"))
		pkg := "docs"
		if slices.ContainsFunc(blocks, func(b docBlock) bool { return b.file != "" && strings.HasPrefix(b.text, "package main\n") }) {
			pkg = "main"
		}
		for i, b := range blocks {
			switch {
			case b.file != "" && filepath.Ext(b.file) != "":
			case b.language == "go":
				b.file, b.text = fmt.Sprintf("block%d.go", i+1), b.complete(t, doc, pkg)
			default:
				continue
			}
			if err := os.MkdirAll(at, 0o755); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(at, b.file)
			if _, err := os.Stat(file); err == nil {
				if err := os.CopyFS(fmt.Sprintf("%s-before-%d", at, i+1), os.DirFS(at)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=all", "./...")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -vet=all of what the documents show: %v\n%s", err, out)
	}
}

// docModule makes dir a module that needs what this one needs, and this one.
func docModule(t *testing.T, dir string) {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	const self = "github.com/go-chime/chime"
	text := strings.Replace(string(mod), "module "+self+"\n", "module example.com/docs\n", 1) +
		"\nrequire " + self + " v0.0.0\n\nreplace " + self + " => " + root + "\n"
	for name, content := range map[string]string{"go.mod": text, "go.sum": string(sum)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// docFragment is the function around a block that is a piece of one.
const docFragment = "func _(ctx context.Context, live *chime.Router, r chi.Router, s *channel.Socket, m channel.Message) {{\n"

// docImports are the packages that a block may use without importing them.
var docImports = map[string]string{
	"chi": "github.com/go-chi/chi/v5", "chime": "github.com/go-chime/chime", "channel": "github.com/go-chime/chime/channel",
	"channeltest": "github.com/go-chime/chime/channel/channeltest", "middleware": "github.com/go-chime/chime/channel/middleware", "atomic": "sync/atomic", "store": "github.com/go-chime/chime/store",
	"boltstore": "github.com/go-chime/chime/store/boltstore", "boltfile": "github.com/go-chime/chime/store/boltstore/boltfile", "storetest": "github.com/go-chime/chime/store/storetest", "transport": "github.com/go-chime/chime/transport",
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "log": "log", "os": "os", "signal": "os/signal",
	"slog": "log/slog", "metrics": "github.com/go-chime/chime/metrics", "prometheus": "github.com/prometheus/client_golang/prometheus", "synctest": "testing/synctest", "testing": "testing", "time": "time",
	"json": "encoding/json", "strconv": "strconv",
}

// complete makes a file of b.
func (b docBlock) complete(t *testing.T, doc, pkg string) string {
	t.Helper()
	head, opening, closing := "package "+pkg+"\n", "", ""
	where := fmt.Sprintf("//line %s:%d\n", doc, b.line)
	file, err := parser.ParseFile(token.NewFileSet(), "", head+where+b.text, 0)
	if err != nil {
		opening, closing = docFragment, "}}\n"
		file, err = parser.ParseFile(token.NewFileSet(), "", head+opening+where+b.text+closing, 0)
	}
	if err != nil {
		t.Fatalf("neither declarations nor statements: %v", err)
	}
	imports := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && docImports[x.Name] != "" {
				imports[docImports[x.Name]] = true
			}
		}
		return true
	})
	for path := range imports {
		head += fmt.Sprintf("import %q\n", path)
	}
	return head + opening + where + b.text + closing
}

var (
	docLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docForeign = regexp.MustCompile(`^[a-z]+:`)
	docHeading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	docUnslug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	t.Chdir("..")
	for _, doc := range documents(t) {
		for _, m := range docLink.FindAllStringSubmatch(docProse(t, doc), -1) {
			if docForeign.MatchString(m[1]) {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := doc
			if path != "" {
				target = filepath.Join(filepath.Dir(doc), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
				continue
			}
			if anchor == "" {
				continue
			}
			found := slices.ContainsFunc(docHeading.FindAllStringSubmatch(docProse(t, target), -1), func(h []string) bool {
				return strings.ReplaceAll(docUnslug.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-") == anchor
			})
			if !found {
				t.Errorf("%s links to %s: no such heading", doc, m[1])
			}
		}
	}
}

var (
	docGoTest     = regexp.MustCompile("`((?:Test|Fuzz|Benchmark|Example)[A-Z]\\w*)(?:/([^`/<]+))?[^`]*`")
	docScriptTest = regexp.MustCompile("`([\\w-]+(?:\\.test)?\\.mjs): ([^`]+)`")
)

// TestDocumentsNameTestsThatExist looks for `TestName`, `TestName/sub test` and
// `file.test.mjs: title`.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	t.Chdir("..")
	tests, scripts := docTests(t)
	for _, doc := range documents(t) {
		text := docProse(t, doc)
		for _, m := range docGoTest.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(tests, "\nfunc "+m[1]+"(") {
				t.Errorf("%s names %s, which is no test", doc, m[1])
			} else if sub := m[2]; sub != "" && !strings.Contains(tests, `"`+sub+`"`) {
				t.Errorf("%s names %s/%s, and no test has that name in it", doc, m[1], sub)
			}
		}
		for _, m := range docScriptTest.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(scripts[m[1]], m[2]) {
				t.Errorf("%s names %q of %s, which is not there", doc, m[2], m[1])
			}
		}
	}
}

var docCommand = regexp.MustCompile(`go test [^\n]*-(bench|run|fuzz) '?\^?((?:Test|Fuzz)?[A-Z][\w|]*)[^\n]* (\./[\w/]+)`)

// TestDocumentsNameTheirPackages looks for go test -bench 'Name|Other' ./package:
// a command that finds nothing to run succeeds.
func TestDocumentsNameTheirPackages(t *testing.T) {
	t.Chdir("..")
	found := 0
	for _, doc := range documents(t) {
		data, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range docCommand.FindAllStringSubmatch(string(data), -1) {
			found++
			files, err := filepath.Glob(m[3] + "/*_test.go")
			if err != nil {
				t.Fatal(err)
			}
			var tests strings.Builder
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				tests.Write(text)
			}
			for name := range strings.SplitSeq(m[2], "|") {
				if m[1] == "bench" {
					name = "Benchmark" + name
				}
				if !strings.Contains(tests.String(), "\nfunc "+name) {
					t.Errorf("%s: %s: want a package with %s, and %s has none", doc, m[0], name, m[3])
				}
			}
		}
	}
	if found < 9 {
		t.Errorf("got %d commands, want those of benchmarks.md and testing.md", found)
	}
}

// docTests returns the text of all tests in Go, and that of each script.
func docTests(t *testing.T) (tests string, scripts map[string]string) {
	t.Helper()
	var all strings.Builder
	scripts = map[string]string{}
	docFiles(t, func(path string) {
		dir := filepath.Dir(path)
		isGo := strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".go") && (strings.HasSuffix(dir, "test") || dir == "internal/contract")
		if !isGo && !strings.HasSuffix(path, ".mjs") {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if isGo {
			all.Write(text)
		} else {
			scripts[filepath.Base(path)] = string(text)
		}
	})
	return all.String(), scripts
}

// documents are all of the project's own.
func documents(t *testing.T) []string {
	t.Helper()
	var list []string
	docFiles(t, func(path string) {
		if strings.HasSuffix(path, ".md") {
			list = append(list, path)
		}
	})
	return list
}

func docFiles(t *testing.T, f func(path string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !d.IsDir():
			f(filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// docBlock is what stands between two fences.
type docBlock struct {
	language, file string
	line           int // of its first line
	text           string
}

func docCode(t *testing.T, doc string) []docBlock {
	t.Helper()
	blocks, _ := docParts(t, doc)
	return blocks
}

// docProse is a document without its blocks.
func docProse(t *testing.T, doc string) string {
	t.Helper()
	_, text := docParts(t, doc)
	return text
}

func docParts(t *testing.T, doc string) (blocks []docBlock, text string) {
	t.Helper()
	data, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	var around strings.Builder
	inside, n := false, 0
	for line := range strings.Lines(string(data)) {
		n++
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !inside:
			language, file, _ := strings.Cut(strings.TrimSpace(info), " ")
			blocks = append(blocks, docBlock{language: language, file: file, line: n + 1})
			inside = true
		case fence:
			inside = false
		case inside:
			blocks[len(blocks)-1].text += line
		default:
			around.WriteString(line)
		}
	}
	if inside {
		t.Errorf("%s ends inside of a block", doc)
	}
	return blocks, around.String()
}
