package docs_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/transport"
)

// TestTheLimitsPageHasEachLimit holds the tables of limits.md to transport.Limits: each
// field has a row, with its default.
func TestTheLimitsPageHasEachLimit(t *testing.T) {
	t.Chdir("..")
	rows := map[string]string{} // the second column, by what the first names
	for line := range strings.Lines(docProse(t, "docs/limits.md")) {
		cells := strings.Split(line, " | ")
		if len(cells) < 4 {
			continue
		}
		for _, name := range tickedWord.FindAllStringSubmatch(cells[0], -1) {
			if rows[name[1]] == "" {
				rows[name[1]] = cells[1]
			}
		}
	}
	defaults := reflect.ValueOf(transport.Limits{}.WithDefaults())
	for i := range defaults.NumField() {
		name, want := defaults.Type().Field(i).Name, written(defaults.Field(i).Interface())
		if got := rows[name]; !strings.Contains(got, want) {
			t.Errorf("docs/limits.md: %s: got %q as its default, want %s", name, got, want)
		}
	}
}

// written is how a page has the value of a limit.
func written(value any) string {
	n, number := value.(int)
	switch {
	case !number:
		return fmt.Sprintf("%.0f s", value.(time.Duration).Seconds())
	case n == transport.NoLimit:
		return "`NoLimit`"
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<14 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	case n >= 1000:
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	default:
		return fmt.Sprint(n)
	}
}
