package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/need"
)

// asProgram makes this test binary the command itself, to be sent real signals.
const asProgram = "CHIME_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	need.Parallel(6)
	leak.Main(m)
}

func TestSignalsEndServeAndTailWell(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			serve := program(t, "serve", "--addr", "127.0.0.1:0")
			mount := serve.url(t) + "/socket"
			tail := program(t, "tail", "chat_room:lobby", "--url", mount)
			tail.until(t, tail.stderr, "joined chat_room:lobby")
			for _, p := range []*running{tail, serve} {
				if err := p.cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				if err := p.wait(); err != nil {
					t.Errorf("%s: got %v, want exit code 0", p.cmd.Args[1], err)
				}
			}
		})
	}
}

func TestAMistakeIsOneLineAndExitCode1(t *testing.T) {
	for _, args := range [][]string{
		{"serve", "--addr", "nowhere"},
		{"serve", "--addr", "127.0.0.1:99999"},
		{"serve", "--origin", "chat.example.com"},
		{"serve", "--origin", "https://chat.example.com/"},
		{"serve", "--origin", "https://*.example.com"},
		{"serve", "--origin", "null"},
		{"serve", "extra"},
		{"serve", "--prot", "1"},
		{"tail"},
		{"tail", ""},
		{"tail", "t:1", "--url", "localhost:4000"},
		{"sreve"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 1 {
			t.Errorf("%q: got exit code %d, want 1", args, code)
		}
		if got := errs.String(); !strings.HasPrefix(got, "chime: ") || strings.Count(got, "\n") != 1 {
			t.Errorf("%q: got %q, want one line that begins with chime:", args, got)
		}
		if out.Len() > 0 {
			t.Errorf("%q: got %q on stdout, want nothing", args, out.String())
		}
	}
}

func TestAMistakeNamesTheWayOut(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().String()
	for _, tt := range []struct {
		args string // split at |
		want string
	}{
		{"serv", `unknown command "serv": want serve, tail, history, generate, conformance or doctor`},
		{"generate|foo", `generate: unknown command "foo": want channel or socket`},
		{"serve|extra", `serve: unexpected argument "extra": want none`},
		{"tail", "tail: got 0 arguments: want TOPIC"},
		{"tail|a|b", "tail: got 2 arguments: want TOPIC"},
		{"history|topics", "history topics: got 0 arguments: want FILE"},
		{"history|show|chime.db", "history show: got 1 argument: want FILE and TOPIC"},
		{"history|show|chime.db|t|--last|x", `--last "x": want a number of messages, or 0 for all`},
		{"history|show|chime.db|t|--last=-1", `--last "-1": want a number of messages, or 0 for all`},
		{"history", "history: no command: want topics, show, redact, verify, compact, export or import, and then the file"},
		{"generate", "generate: no command: want channel or socket"},
		{"serve|--nope", "serve: unknown flag: --nope: want what chime serve --help lists"},
		{"serve|--addr", "serve: flag needs an argument: --addr: want what chime serve --help lists"},
		{"-x", "unknown shorthand flag: 'x' in -x: want what chime --help lists"},
		{"serve|--addr|4000", `--addr "4000": missing port in address: want host:port, as in 127.0.0.1:4000`},
		{"serve|--addr|127.0.0.1:99999", `--addr "127.0.0.1:99999": invalid port: want host:port, as in 127.0.0.1:4000`},
		{"serve|--addr=", `--addr "": want host:port, as in 127.0.0.1:4000`},
		{"serve|--addr|127.0.0.1:0|--db=|--metrics|" + port, `--metrics "` + port + `": bind: address already in use: want a port that no other program listens on`},
		{"serve|--addr|" + port, `--addr "` + port + `": bind: address already in use: want a port that no other program listens on`},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), strings.Split(tt.args, "|"), &out, &errs)
		if got := strings.TrimPrefix(errs.String(), "chime: "); code != 1 || !strings.HasPrefix(got, tt.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: got exit code %d and %q, want one line that begins with %q", tt.args, code, got, tt.want)
		}
	}
	elsewhere := &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}
	if got, want := unheard("--addr", "10.9.9.9:80", elsewhere).Error(), "want an address of this machine"; !strings.Contains(got, want) {
		t.Errorf("an address of another machine: got %q, want %q", got, want)
	}
	denied := &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EACCES)}
	if got, want := unheard("--addr", "127.0.0.1:80", denied).Error(), `--addr "127.0.0.1:80": bind: permission denied: want a port of 1024 or more`; got != want {
		t.Errorf("a privileged port: got %q, want %q", got, want)
	}
}

func TestWithoutAWordItTellsOfItsCommands(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), nil, &out, &errs); code != 0 || errs.Len() > 0 || !strings.Contains(out.String(), "history") {
		t.Errorf("got exit code %d, %q and %q, want its help", code, out.String(), errs.String())
	}
}

// running is this command in a process of its own.
type running struct {
	cmd            *exec.Cmd
	stdout, stderr *bufio.Reader
}

func program(t *testing.T, args ...string) *running {
	t.Helper()
	return programIn(t, t.TempDir(), args...) // chime.db is there
}

// programIn runs it in a directory.
func programIn(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asProgram+"=1")
	p := &running{cmd: cmd}
	for _, pipe := range []struct {
		open func() (io.ReadCloser, error)
		to   **bufio.Reader
	}{{cmd.StdoutPipe, &p.stdout}, {cmd.StderrPipe, &p.stderr}} {
		r, err := pipe.open()
		if err != nil {
			t.Fatal(err)
		}
		*pipe.to = bufio.NewReader(r)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// wait reads what is left, as Wait wants it, and returns how the process ended.
func (p *running) wait() error {
	_, _ = io.Copy(io.Discard, p.stdout)
	_, _ = io.Copy(io.Discard, p.stderr)
	return p.cmd.Wait()
}

// until reads lines up to the first that has part, and returns it.
func (p *running) until(t *testing.T, from *bufio.Reader, part string) string {
	t.Helper()
	for {
		line, err := from.ReadString('\n')
		if strings.Contains(line, part) {
			return strings.TrimSpace(line)
		}
		if err != nil {
			t.Fatalf("no line with %q before %v", part, err)
		}
	}
}

// url is where serve says it can be opened.
func (p *running) url(t *testing.T) string {
	t.Helper()
	_, url, _ := strings.Cut(p.until(t, p.stdout, "http://"), "http://")
	return "http://" + url
}
