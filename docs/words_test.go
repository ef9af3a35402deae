package docs_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// The words of the project are those of glossary.md. What is checked here is what
// a test can tell: words that had several meanings in the code, or none outside of
// it, and turns of phrase that had to be read twice.

// privateNames are no part of the name of a field, variable, function or type. Lost is
// that of a method of broker.Sink, and of what it calls.
var privateNames = []string{"asked", "forgo", "gone", "held", "let", "lost", "ripe", "rot", "shelf", "tap", "told", "turn"}

// testName is that of a test, which is a sentence.
var testName = regexp.MustCompile(`^(Test|Benchmark|Fuzz)[A-Z]`)

// oddPhrases stand in no comment, no string and no document.
var oddPhrases = regexp.MustCompile(`(?m)\b(?:at the most|at the least|unless said|what can't be meant|[Ff]rom whom nothing|[Hh]oles in the fence|tells of them)\b|` +
	`(?:^|//|\*|[.:|] )\s*Whom? (?:has|had|is|was|can|can't|cannot|does|did|comes|came|goes|went|leaves|left|missed|reads|resumes|waits|wants)\b|` +
	`unknown_fate|onReset|WriteBehind|(?:channel|transport)\.Gone\b|Reason = "gone"|ChimeError\("lost"`)

const mostLines = 500 // of a Go file, and of a script

func TestNamesAreNoPrivateJargon(t *testing.T) {
	t.Chdir("..")
	for _, file := range wordFiles(t, ".go") {
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		declared(parsed, func(id *ast.Ident) {
			if id.Name != "Lost" && !testName.MatchString(id.Name) && slices.ContainsFunc(wordsOf(id.Name), func(w string) bool { return slices.Contains(privateNames, w) }) {
				t.Errorf("%s: the name %s: want words of docs/glossary.md", fset.Position(id.Pos()), id.Name)
			}
		})
	}
}

func TestTextIsPlainEnglish(t *testing.T) {
	t.Chdir("..")
	for _, file := range wordFiles(t, ".go", ".md", ".js", ".ts", ".html", ".tmpl") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range oddPhrases.FindAllIndex(text, -1) {
			t.Errorf("%s:%d: %q", file, 1+bytes.Count(text[:at[0]], []byte("\n")), text[at[0]:at[1]])
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	t.Chdir("..")
	for _, file := range wordFiles(t, ".go", ".mjs", ".js") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); n > mostLines {
			t.Errorf("%s has %d lines, want at most %d", file, n, mostLines)
		}
	}
}

// Of words that nobody can keep in mind nobody keeps to one.
func TestTheGlossaryIsShort(t *testing.T) {
	const most = 30
	text, err := os.ReadFile("glossary.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n| ")) - 1; n < most/2 || n > most {
		t.Errorf("glossary.md has %d entries, want at most %d", n, most)
	}
}

// wordFiles are the files with one of the endings. History stays as it was written:
// the decisions in docs/adr, and what CHANGELOG.md says of former names. This file
// has the words that it looks for.
func wordFiles(t *testing.T, endings ...string) []string {
	t.Helper()
	var list []string
	docFiles(t, func(file string) {
		if slices.Contains(endings, path.Ext(file)) && file != "docs/words_test.go" && file != "CHANGELOG.md" &&
			!strings.HasPrefix(file, "docs/adr/") {
			list = append(list, file)
		}
	})
	if len(list) == 0 {
		t.Fatal("no file was read")
	}
	return list
}

// declared calls f with each name that a file declares.
func declared(file *ast.File, f func(*ast.Ident)) {
	names := func(ids []*ast.Ident) {
		for _, id := range ids {
			f(id)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			f(n.Name)
		case *ast.TypeSpec:
			f(n.Name)
		case *ast.ValueSpec:
			names(n.Names)
		case *ast.Field:
			names(n.Names)
		case *ast.RangeStmt:
			for _, x := range []ast.Expr{n.Key, n.Value} {
				if id, ok := x.(*ast.Ident); ok && n.Tok == token.DEFINE {
					f(id)
				}
			}
		case *ast.AssignStmt:
			for _, x := range n.Lhs {
				if id, ok := x.(*ast.Ident); ok && n.Tok == token.DEFINE {
					f(id)
				}
			}
		}
		return true
	})
}

// wordsOf are the words of a name in camel case, in lower case.
func wordsOf(name string) []string {
	var words []string
	begin := 0
	for i, r := range name {
		if i > begin && unicode.IsUpper(r) {
			words = append(words, strings.ToLower(name[begin:i]))
			begin = i
		}
	}
	return append(words, strings.ToLower(name[begin:]))
}

func TestWordsOfANameAreFound(t *testing.T) {
	for name, want := range map[string][]string{"gone": {"gone"}, "isGoneNow": {"is", "gone", "now"}, "return": {"return"}, "xGone": {"x", "gone"}} {
		if got := wordsOf(name); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for text, odd := range map[string]bool{
		"// Who has expired is refused.": true, "| Who missed more | x |": true, "50 at the most": true, "see who is there": false,
		"// Whose it is": false, "Who may connect: NewRouter": false,
	} {
		if got := oddPhrases.MatchString(text); got != odd {
			t.Errorf("%q: got odd %t, want %t", text, got, odd)
		}
	}
}
