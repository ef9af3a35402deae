// Package need says what a test needs beyond Go, and how much it plays. A test that lacks it is
// skipped with one line; where CHIME_TEST_ALL is set, as in .ci/run, it fails
// instead, so that a missing program is never taken for a passed test.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// All reports whether CHIME_TEST_ALL asks for every test.
func All() bool { return os.Getenv("CHIME_TEST_ALL") != "" }

// Rounds is how much of something random a test plays, or of something long: few in
// a plain run of go test, all of it where CHIME_TEST_ALL is set.
func Rounds(few, all int) int {
	if All() {
		return all
	}
	return few
}

// Patience is for a test that takes long, as said: CHIME_TEST_ALL runs it.
func Patience(t testing.TB, long string) {
	t.Helper()
	if !All() {
		t.Skip("takes " + long + ": CHIME_TEST_ALL=1 runs it")
	}
}

// Program returns the path of the first of names that is on the PATH.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, "needs "+names[0]+" on the PATH")
	return ""
}

// Path returns path if it is there; remedy says how to get it.
func Path(t testing.TB, path, remedy string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, "needs "+path+": "+remedy)
	}
	return path
}

// Unless skips a test that lacks something where a variable says so: .ci/run sets it when it
// has found that this machine can't have it.
func Unless(t testing.TB, variable, what string) {
	t.Helper()
	if os.Getenv(variable) != "" {
		t.Skip("needs " + what + ": " + variable + " says that there is none")
	}
}

func missing(t testing.TB, what string) {
	t.Helper()
	if All() {
		t.Fatal(what)
	}
	t.Skip(what)
}
