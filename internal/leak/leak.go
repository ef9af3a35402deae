// Package leak makes the tests of a package fail when they leave goroutines
// behind. It is used from TestMain:
//
//	func TestMain(m *testing.M) { leak.Main(m) }
//
// It sees goroutines, not what else a test may leave: files, processes, memory.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A goroutine that is about to end may need a moment, and on a busy machine some
// seconds; one that runs longer than this has leaked. Without any there is no wait.
const patience = 20 * time.Second

// Main runs the tests of m and exits with their code, or with 1 and the stacks
// on standard error when they passed but goroutines beyond those at the start,
// the runtime's and testing's are still there twenty seconds later. It exits as
// soon as there are none. After a failure it does not look: a failed test often
// had no chance to tidy up.
func Main(m *testing.M) { os.Exit(run(m, patience)) }

// run is Main with a patience of its own, and returns the code.
func run(m *testing.M, wait time.Duration) int {
	before := goroutines()
	code := m.Run()
	if code == 0 {
		if left := leaked(before, wait); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "leak: %d goroutines are left after the tests:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	return code
}

// leaked returns the stacks of the goroutines that are not among before, as
// soon as there are none, or as they are after wait.
func leaked(before map[string]string, wait time.Duration) []string {
	const pause = 5 * time.Millisecond
	for end := time.Now().Add(wait); ; time.Sleep(pause) {
		var left []string
		for id, stack := range goroutines() {
			if _, old := before[id]; !old && !excused(stack) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || !time.Now().Before(end) {
			return left
		}
	}
}

// excused reports whether a goroutine belongs to the runtime or to testing, or
// is the one that os/signal starts once for good.
func excused(stack string) bool {
	_, creator, found := strings.Cut(stack, "\ncreated by ")
	return !found || strings.HasPrefix(creator, "runtime.") || strings.HasPrefix(creator, "testing.") ||
		strings.HasPrefix(creator, "os/signal.")
}

// goroutines returns the stack of every goroutine by its number.
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	n := runtime.Stack(buf, true)
	for n == len(buf) { // perhaps cut off
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	byID := map[string]string{}
	for stack := range strings.SplitSeq(strings.TrimSpace(string(buf[:n])), "\n\n") {
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		byID[id] = stack
	}
	return byID
}
