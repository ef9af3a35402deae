package quiet_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/quiet"
)

func TestACauseThatRepeatsIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(quiet.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
		lines := func(want int, with string) {
			t.Helper()
			if got := strings.Count(text.String(), with); got != want {
				t.Errorf("got %d lines with %q, want %d:\n%s", got, with, want, text.String())
			}
			text.Reset()
		}
		for range 12_500 {
			log.With("request", 1).WithGroup("of").Warn("refused", "by", "us")
		}
		lines(10, "refused")
		log.Error("another cause")
		lines(1, "another")
		for range 50 {
			log.Debug("details")
		}
		lines(50, "details")
		time.Sleep(10 * time.Second)
		log.Warn("refused")
		log.Warn("refused")
		if got := strings.Count(text.String(), "refused"); got != 2 {
			t.Errorf("got %d lines, want 2", got)
		}
		lines(1, "repeated=12490")
	})
}

// Whoever can put something of their own into a message, as an address in those of
// net/http, fills no log and no memory by that.
func TestCausesWithoutEndAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(quiet.New(slog.NewTextHandler(&text, nil)))
		for n := range 10_000 {
			log.Warn(fmt.Sprintf("http: panic serving 192.0.2.1:%d", n)) //nolint:sloglint // as net/http's ErrorLog has it
		}
		if got := strings.Count(text.String(), "\n"); got != 128+10 {
			t.Errorf("got %d lines of 10,000 different ones, want 138", got)
		}
		time.Sleep(10 * time.Second)
		text.Reset()
		log.Warn("something else")
		if got := text.String(); !strings.Contains(got, "repeated=9862") {
			t.Errorf("got %s, want how many were left out", got)
		}
	})
}
