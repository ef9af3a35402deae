package docs_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime"
)

var (
	numberName   = regexp.MustCompile("chime_[a-z_]*[a-z]")
	numberSuffix = regexp.MustCompile("_(bucket|sum|count)$")
	tickedWord   = regexp.MustCompile("`(\\w+)`")
)

// TestDocumentsNameTheNumbersThereAre holds the names of numbers in the documents, with
// the reasons and causes in the tables of limits.md, to those that a Router has; and
// each that it has is in operations.md.
func TestDocumentsNameTheNumbersThereAre(t *testing.T) {
	t.Chdir("..")
	labels := map[string][]string{} // the values of the last label of each number
	for _, f := range chime.NewRouter(chime.WithAnonymous()).Stats() {
		labels[f.Name] = []string{}
		for _, s := range f.Samples {
			if n := len(s.Values); n > 0 {
				labels[f.Name] = append(labels[f.Name], s.Values[n-1])
			}
		}
	}
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range numberName.FindAllString(string(text), -1) {
			if labels[name] == nil && labels[numberSuffix.ReplaceAllString(name, "")] == nil {
				t.Errorf("%s names %s, which no number is called", doc, name)
			}
		}
	}
	operations := docProse(t, "docs/operations.md")
	for name := range labels {
		if !strings.Contains(operations, "`"+name+"`") {
			t.Errorf("docs/operations.md does not name %s", name)
		}
	}
	found := 0
	for line := range strings.Lines(docProse(t, "docs/limits.md")) {
		cells := strings.Split(line, " | ")
		if len(cells) != 5 || strings.HasPrefix(line, "| limit") {
			continue
		}
		known, counted := labels["chime_refusals_total"], cells[3]
		if slow, ok := strings.CutPrefix(counted, "slow: "); ok {
			known, counted = labels["chime_slow_total"], slow
		}
		if strings.HasSuffix(counted, ", in the log") {
			continue
		}
		for _, word := range tickedWord.FindAllStringSubmatch(counted, -1) {
			found++
			if !slices.Contains(known, word[1]) {
				t.Errorf("docs/limits.md: counted as %s: want one of %q", word[1], known)
			}
		}
	}
	if found < 15 {
		t.Errorf("got %d reasons in docs/limits.md, want those of most limits", found)
	}
}
