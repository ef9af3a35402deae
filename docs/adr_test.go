package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The index has each decision once, under its number and title.
func TestTheIndexOfDecisions(t *testing.T) {
	files, err := filepath.Glob("adr/[0-9]*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d decisions, %v", len(files), err)
	}
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var want []string
	for _, file := range files {
		title, _, _ := strings.Cut(read(file), "\n")
		number, title, _ := strings.Cut(strings.TrimPrefix(title, "# "), ". ")
		want = append(want, fmt.Sprintf("%s. [%s](%s)", number, title, filepath.Base(file)))
	}
	var got []string
	for line := range strings.Lines(read("adr/README.md")) {
		if _, _, found := strings.Cut(line, ". ["); found {
			line, _, _ = strings.Cut(strings.TrimSpace(line), ";") // behind it: what has become of the decision
			got = append(got, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
