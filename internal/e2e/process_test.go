package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// process is a running program whose output, both streams, is kept by line.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and err is set
	err  error

	mu      sync.Mutex
	partial []byte
	lines   []string
	seen    int           // lines that line has gone past
	news    chan struct{} // closed at the next line, and when the output ends
}

// start runs cmd. The test's end kills it if it is still there, and a failed
// test shows what it printed.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: filepath.Base(cmd.Path), cmd: cmd, done: make(chan struct{}), news: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	// A grandchild that outlives the program holds its output open; Wait must not wait for it.
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		p.err = cmd.Wait()
		if errors.Is(p.err, exec.ErrWaitDelay) {
			p.err = nil
		}
		close(p.done)
		p.mu.Lock()
		p.wake()
		p.mu.Unlock()
	}()
	t.Cleanup(func() {
		// It may have ended; then there is nothing to kill.
		_ = cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s printed:\n%s", p.name, p.output())
		}
	})
	return p
}

// Write takes the program's output; os/exec calls it from one goroutine.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, b...)
	for {
		line, rest, ok := bytes.Cut(p.partial, []byte("\n"))
		if !ok {
			break
		}
		p.lines = append(p.lines, strings.TrimSuffix(string(line), "\r"))
		p.partial = rest
	}
	p.wake()
	return len(b), nil
}

// wake is called with mu held.
func (p *process) wake() {
	close(p.news)
	p.news = make(chan struct{})
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n") + string(p.partial)
}

// line waits for the next line that matches and returns its groups.
func (p *process) line(t testing.TB, re *regexp.Regexp) []string {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		match, news := p.next(re)
		if match != nil {
			return match
		}
		select {
		case <-news:
		case <-p.done:
			// Its last words may have come between the look and the end.
			if match, _ = p.next(re); match != nil {
				return match
			}
			t.Fatalf("%s ended (%v) without printing %s", p.name, p.err, re)
		case <-deadline.C:
			t.Fatalf("%s did not print %s within %v", p.name, re, patience)
		}
	}
}

func (p *process) next(re *regexp.Regexp) (match []string, news <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.seen < len(p.lines) {
		p.seen++
		if match = re.FindStringSubmatch(p.lines[p.seen-1]); match != nil {
			return match, nil
		}
	}
	return nil, p.news
}

// wait returns how the program ended.
func (p *process) wait(t testing.TB) error {
	t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		t.Fatalf("%s still runs after %v", p.name, patience)
		return nil
	}
}

// interrupt sends SIGINT, as Ctrl-C does, and returns how the program ended.
func (p *process) interrupt(t testing.TB) error {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("interrupt %s: %w", p.name, err)
	}
	return p.wait(t)
}
