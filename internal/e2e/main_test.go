// Package e2e drives the built chime serve from outside, with the programs that
// people use: Chromium, the Phoenix client of npm, curl, and nginx in between.
//
// Each test needs a program that Go does not bring; package need says what
// happens without it. Nothing here knows chime's Go API: a server in another
// language that serves the same demo would pass.
package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait here. It is no expectation: what is waited for
// takes milliseconds, or the seconds of a client's own backoff, and a machine
// that runs a browser, nginx and the race detector on two cores needs room.
const patience = 45 * time.Second

// plain asks without keeping connections for later.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(built.dir); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// built is the chime binary of this run: built by the first test that needs it,
// so that a run that skips them all does not build.
var built struct {
	once      sync.Once
	dir, path string
	err       error
}

// chime returns the path of the binary, with the race detector in it if it is
// in the tests: then a race between two browsers fails the test as well.
func chime(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		//nolint:usetesting // other tests use it after the one that builds it
		if built.dir, built.err = os.MkdirTemp("", "chime-e2e-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "chime")
		args := []string{"build", "-o", built.path}
		if underRace() {
			args = append(args, "-race")
		}
		build := exec.Command("go", append(args, "github.com/go-chime/chime/cmd/chime")...)
		if out, err := build.CombinedOutput(); err != nil {
			built.err = errors.New("go build: " + err.Error() + "\n" + string(out))
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

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
