package quiet_test

import (
	"bytes"
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
