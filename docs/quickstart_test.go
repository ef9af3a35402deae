package docs_test

import (
	"os"
	"strings"
	"testing"
)

// A server ends well on Ctrl-C, and on what systemd, Docker and Kubernetes send.
func TestTheServerOfTheQuickstartEndsOnBothSignals(t *testing.T) {
	page, err := os.ReadFile("quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)"; !strings.Contains(string(page), want) {
		t.Errorf("the page has no %s", want)
	}
}
