// Package redistest runs servers of Redis and of Valkey for tests, each of a test's own:
//
//	s := redistest.Start(t, "--appendfsync", "no")
//	b, err := redis.Open(ctx, s.URL(), redis.Options{})
//
// A server can be killed, stopped and begun again, at the same address and with what it has
// written. It ends with its test.
package redistest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
)

// Patience is how long a server may take to start, or to find out about another.
const Patience = 30 * time.Second

// Server is a process of redis-server or valkey-server.
type Server struct {
	Host, Port string
	Dir        string

	program  Program
	settings []string
	tls      *tls.Config // nil: without
	cmd      *exec.Cmd   // nil: it does not run
}

// Start starts a server of the program that is there, Redis rather than Valkey. It
// appends to a file and syncs that before it answers, unless settings say otherwise.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	return Program(need.Program(t, "redis-server", "valkey-server")).Start(t, settings...)
}

// newServer takes an address, and a directory.
func newServer(t testing.TB, p Program) *Server {
	t.Helper()
	s := &Server{Dir: t.TempDir(), program: p}
	s.Host, s.Port = free(t, need.Address())
	return s
}

// Nowhere is an address where no server is.
func Nowhere(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort(free(t, need.Address()))
}

// free is where something can listen.
func free(t testing.TB, address string) (host, port string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, port, _ = net.SplitHostPort(l.Addr().String())
	return host, port
}

// run starts the process for the first time, and sees to its end.
func (s *Server) run(t testing.TB) *Server {
	t.Helper()
	t.Cleanup(func() { s.Kill(t) })
	if err := s.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// Begin starts the server again after Kill, and returns when it answers.
func (s *Server) Begin(t testing.TB) {
	t.Helper()
	if err := s.begin(t.Context()); err != nil {
		t.Error(err)
	}
}

func (s *Server) begin(ctx context.Context) error {
	s.cmd = exec.Command(string(s.program), s.settings...)
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("start %s: %w", s.program, err)
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		_, err := s.Ask("PING")
		if err == nil || strings.HasPrefix(err.Error(), "NOAUTH") {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond): // what happens is in another process
		case <-ctx.Done():
			said, _ := os.ReadFile(s.log())
			return fmt.Errorf("%s does not answer: %w: %s", s.program, err, said)
		}
	}
}

// Kill ends the server with SIGKILL, if it runs.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	if err := s.cmd.Wait(); err != nil && !strings.Contains(err.Error(), "killed") {
		said, _ := os.ReadFile(s.log())
		t.Errorf("%s: %v: %s", s.program, err, said)
	}
	s.cmd = nil
}

// Stop has the server do nothing until GoOn. Its connections stay.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(need.Halt); err != nil {
		t.Errorf("stop %s: %v", s.program, err)
	}
}

// GoOn ends what Stop began.
func (s *Server) GoOn(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(need.GoOn); err != nil {
		t.Errorf("have %s go on: %v", s.program, err)
	}
}

// Address is host:port.
func (s *Server) Address() string { return net.JoinHostPort(s.Host, s.Port) }

// URL is where the server is.
func (s *Server) URL() string {
	if s.tls != nil {
		return "rediss://" + s.Address()
	}
	return "redis://" + s.Address()
}

func (s *Server) log() string { return filepath.Join(s.Dir, "log") }

// Info is one field of what the server says of itself.
func (s *Server) Info(t testing.TB, section, field string) string {
	t.Helper()
	for line := range strings.Lines(s.Must(t, "INFO", section)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Eventually returns when is reports true.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !is(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, Patience)
		}
		time.Sleep(10 * time.Millisecond) // what happens is in another process
	}
}
