package leak

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"
)

// leave makes one run of this test binary leak on purpose.
const leave = "CHIME_LEAK_ON_PURPOSE"

func TestMain(m *testing.M) {
	if os.Getenv(leave) != "" { // there is nothing to wait for
		os.Exit(run(m, 0))
	}
	Main(m)
}

func TestAGoroutineLeftBehindIsSeenUntilItEnds(t *testing.T) {
	before := goroutines()
	release, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); <-release }()

	left := leaked(before, 0)
	if len(left) != 1 || !strings.Contains(left[0], t.Name()) {
		t.Errorf("with one goroutine running: got %q, want the stack of one created by %s", left, t.Name())
	}
	close(release)
	<-ended
	if left := leaked(before, time.Minute); len(left) != 0 {
		t.Errorf("after it ended: got %q, want none", left)
	}
}

func TestTheSignalGoroutineIsExcused(t *testing.T) {
	before := goroutines()
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	signal.Stop(c)
	if left := leaked(before, 0); len(left) != 0 {
		t.Errorf("got %q, want none", left)
	}
}

func TestMainFailsWithTheStack(t *testing.T) {
	if os.Getenv(leave) != "" {
		go func() { select {} }()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), leave+"=1")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "created by") {
		t.Errorf("a run that leaks: got %v and %q, want exit status 1 and the stack", err, out)
	}
}
