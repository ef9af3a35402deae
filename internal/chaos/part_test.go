package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// part is a process of a world: the test binary, run again.
type part struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	in     io.Closer
	report chan string // its first line; closed if it ends without one
	lines  func(line []byte)
	pipes  sync.WaitGroup

	mu    sync.Mutex // guards stops
	stops int        // how often it was stopped, or went on
}

// begin starts a part with what it is to know. Lines are called with what it writes after its
// first line.
func begin(t *testing.T, kind, name string, setup any, lines func([]byte)) *part {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &part{t: t, name: name, report: make(chan string, 1), lines: lines, cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), asPart+"="+kind)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	complaints, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.in = in
	p.pipes.Go(func() { p.read(out) })
	p.pipes.Go(func() { p.complain(complaints) })
	if err := json.NewEncoder(in).Encode(setup); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return p
}

func (p *part) read(out io.Reader) {
	r := bufio.NewReader(out)
	defer close(p.report)
	first := true
	for {
		line, err := r.ReadBytes('\n')
		switch {
		case err != nil: // the last line may be a part of one, of a process that was killed
			return
		case first:
			p.report <- string(line[:len(line)-1])
			first = false
		default:
			p.lines(line)
		}
	}
}

// complain notes what a part says on its standard error. That of a panic or a race is a fault.
func (p *part) complain(from io.Reader) {
	r, bad := bufio.NewReader(from), false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		bad = bad || strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.Contains(line, "DATA RACE")
		if line = strings.TrimSpace(line); bad {
			p.t.Errorf("%s: %s", p.name, line)
		} else {
			p.t.Logf("%s: %s", p.name, line)
		}
	}
}

// opened waits until a part has said that it is open, and returns what it has said.
func (p *part) opened() (string, error) {
	line, ok := <-p.report
	if !ok {
		return "", fmt.Errorf("%s has ended", p.name)
	}
	return line, nil
}

// wait waits for the end of a part, and until all that it has written was read.
func (p *part) wait() error {
	p.pipes.Wait()
	err := p.cmd.Wait()
	_ = p.in.Close()
	return err
}

// kill ends a part at once.
func (p *part) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.wait()
}

// end asks a part to end, and wants that it does so well.
func (p *part) end() {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
	if err := p.wait(); err != nil {
		p.t.Errorf("%s was asked to end: %v", p.name, err)
	}
}

// stop has a part do nothing until it is to go on.
func (p *part) stop() { p.signal(need.Halt) }
func (p *part) goOn() { p.signal(need.GoOn) }

func (p *part) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stops++
	_ = p.cmd.Process.Signal(s)
}

// stopped is another number after each time that it was, or has ended.
func (p *part) stopped() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stops
}
