package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var packageLine = regexp.MustCompile(`^package \w+\n`)

var goBlock = regexp.MustCompile("(?ms)^```go[^\n]*\n(.*?)^```")

// What a page shows of Go is code that is compiled, and tested: word by word a part of a
// file in examples, whatever the indentation there. TestChromiumChatsAsTheQuickstartSays
// has the quickstart.
func TestWhatThePagesShowIsTested(t *testing.T) {
	t.Chdir("..")
	var code strings.Builder
	err := filepath.WalkDir("examples", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		code.WriteString(unindented(string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, page := range append(pages, "README.md") {
		if page == filepath.Join("docs", "quickstart.md") {
			continue
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range goBlock.FindAllStringSubmatch(string(text), -1) {
			shown++
			body := packageLine.ReplaceAllString(block[1], "") // a file in examples says what it is in front of it
			if !strings.Contains(code.String(), unindented(body)) {
				t.Errorf("%s: no file in examples has\n%s", page, block[1])
			}
		}
	}
	if shown < 20 {
		t.Errorf("got %d examples, want those of all pages", shown)
	}
}

func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimLeft(line, "\t")
	}
	return strings.Join(lines, "\n")
}
