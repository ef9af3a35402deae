package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const architecture = "docs/architecture.md"

var (
	archLink = regexp.MustCompile("\\[`([\\w.]+)`\\]\\(\\.\\./([^)]+)\\)")
	archSpan = regexp.MustCompile("`([^`]+)`")
	archName = regexp.MustCompile(`^[a-z]\w*(\.[A-Za-z]\w*)+$`)
	archRow  = regexp.MustCompile("(?m)^\\| \\[`([\\w.]+)`\\].*\\| ([^|]+) \\|$")
)

func TestTheArchitecturePageNamesWhatThereIs(t *testing.T) {
	t.Chdir("..")
	text, code := docProse(t, architecture), readSource(t)
	links := archLink.FindAllStringSubmatch(text, -1)
	if len(links) < 80 {
		t.Errorf("got %d names with their file, want those of all types and walks", len(links))
	}
	for _, m := range links {
		if !slices.Contains(code.declared[m[1]], m[2]) {
			t.Errorf("%s: got %s, want one of %q", m[1], m[2], code.declared[m[1]])
		}
	}
	for _, m := range archSpan.FindAllStringSubmatch(text, -1) {
		if archName.MatchString(m[1]) && filepath.Ext(m[1]) != ".js" && code.declared[m[1]] == nil {
			t.Errorf("%s is not declared", m[1])
		}
	}
}

// TestTypesKnowNothingOfWhatTheyMustNeverKnow looks at the last column of the
// tables of types.
func TestTypesKnowNothingOfWhatTheyMustNeverKnow(t *testing.T) {
	t.Chdir("..")
	code := readSource(t)
	rows := archRow.FindAllStringSubmatch(docProse(t, architecture), -1)
	if len(rows) < 30 {
		t.Errorf("got %d rows, want one for each type", len(rows))
	}
	if code.knows["channel.registry"]["broker"] == "" || code.knows["channel.inbox"]["channel.client"] == "" || code.knows["channel.client"]["wire.Frame"] == "" {
		t.Error("what a type names is not found")
	}
	for _, row := range rows {
		spans := archSpan.FindAllStringSubmatch(row[2], -1)
		if len(spans) == 0 {
			t.Errorf("%s: got no rule, want what it must never know", row[1])
		}
		for _, never := range spans {
			if name := never[1]; !code.packages[name] && code.declared[name] == nil {
				t.Errorf("%s must never know %s, which is neither a package nor a type", row[1], name)
			} else if at, knows := code.knows[row[1]][name]; knows {
				t.Errorf("%s names %s, which %s must never know", at, name, row[1])
			}
		}
	}
}

// source is what the Go files of the module declare, without tests. Names have
// their package in front: "fanout.Topic.Join".
type source struct {
	packages map[string]bool
	declared map[string][]string          // in which files
	knows    map[string]map[string]string // by type: the packages and types that its fields and methods name, and where
}

func readSource(t *testing.T) source {
	t.Helper()
	s := source{map[string]bool{}, map[string][]string{}, map[string]map[string]string{}}
	docFiles(t, func(file string) {
		if filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") || strings.Contains(file, "testdata/") {
			return
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.read(fset, file, parsed)
	})
	return s
}

func (s source) read(fset *token.FileSet, file string, parsed *ast.File) {
	pkg := parsed.Name.Name
	s.packages[pkg] = true
	imported := map[string]bool{}
	for _, spec := range parsed.Imports {
		name := strings.Trim(spec.Path.Value, `"`)
		name = name[strings.LastIndexByte(name, '/')+1:]
		imported[name], s.packages[name] = true, true
	}
	declare := func(name string) { s.declared[pkg+"."+name] = append(s.declared[pkg+"."+name], file) }
	// learn notes what a type names: its fields and its methods.
	learn := func(typ string, n ast.Node) {
		known := s.knows[pkg+"."+typ]
		if known == nil {
			known = map[string]string{}
			s.knows[pkg+"."+typ] = known
		}
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && imported[x.Name] {
					at := fset.Position(n.Pos()).String()
					known[x.Name], known[x.Name+"."+n.Sel.Name] = at, at
					return false
				}
			case *ast.Ident: // of whatever kind: a field that is called as the type is one of it
				known[pkg+"."+n.Name] = fset.Position(n.Pos()).String()
			}
			return true
		})
	}
	for _, decl := range parsed.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil {
				declare(decl.Name.Name)
				continue
			}
			if typ := receiverOf(decl); typ != "" {
				declare(typ + "." + decl.Name.Name)
				learn(typ, decl.Type)
				learn(typ, decl.Body)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				typ, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				declare(typ.Name.Name)
				learn(typ.Name.Name, typ.Type)
				ast.Inspect(typ.Type, func(n ast.Node) bool {
					if f, ok := n.(*ast.Field); ok {
						for _, id := range f.Names {
							declare(typ.Name.Name + "." + id.Name)
						}
					}
					return true
				})
			}
		}
	}
}

// receiverOf is the name of the type that a method belongs to.
func receiverOf(decl *ast.FuncDecl) string {
	typ := decl.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	switch generic := typ.(type) {
	case *ast.IndexExpr:
		typ = generic.X
	case *ast.IndexListExpr:
		typ = generic.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
