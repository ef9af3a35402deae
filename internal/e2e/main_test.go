// Package e2e drives the built chime serve from outside, with the programs that
// people use: Chromium, the Phoenix client of npm, curl, and proxies in between.
//
// Each test needs a program that Go does not bring; package need says what
// happens without it. But for the applications of site_test.go and club_test.go
// nothing here knows chime's Go API: a server in another language that serves the
// same demo would pass.
package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/leak"
)

// patience bounds every wait here. It is no expectation: what is waited for
// takes milliseconds, or the seconds of a client's own backoff, and a machine
// that runs a browser, nginx and the race detector on two cores needs room.
const patience = 45 * time.Second

// plain asks without keeping connections for later.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func TestMain(m *testing.M) { leak.Main(m) }

// program returns the path of chime, built by the first test that asks, with
// the race detector in it if it is in the tests: then a race between two
// browsers fails the test as well.
func program(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	// Beside the test binary: no test outlives it, and go test removes both.
	path := filepath.Join(filepath.Dir(self), "chime.test")
	args := []string{"build", "-o", path}
	if underRace() {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/go-chime/chime/cmd/chime")...)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// poll asks until the answer is yes, and fails the test with state when
// patience runs out. Only what cannot be waited for is polled: a page in
// another process.
func poll(t testing.TB, what string, yes func() bool, state func() string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v for %s; it is now:\n%s", patience, what, state())
		}
	}
}
