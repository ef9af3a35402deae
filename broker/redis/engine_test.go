package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
)

// engine is a Redis server of a test's own.
type engine struct {
	program, dir, port string
	options            []string
	cmd                *exec.Cmd
}

// patience is how long a server may take to start, and a node to find out about something.
const patience = 30 * time.Second

// start starts a server that appends to a file and syncs it before it answers, unless
// options say otherwise. It ends with the test.
func start(t testing.TB, options ...string) *engine {
	t.Helper()
	e := &engine{program: need.Program(t, "redis-server", "valkey-server"), dir: t.TempDir(), port: freePort(t)}
	e.options = append([]string{
		"--port", e.port, "--bind", "127.0.0.1", "--dir", e.dir, "--save", "", "--repl-diskless-sync-delay", "0", "--logfile", e.log(), "--appendonly", "yes", "--appendfsync", "always",
	}, options...)
	e.begin(t)
	t.Cleanup(func() { e.kill(t) })
	return e
}

// freePort returns a port that nothing listens on, below those that the kernel gives away.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(20000 + int(nextPort.Add(1)+int64(os.Getpid()))%10000)
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

var nextPort atomic.Int64

// begin starts the server, again perhaps, and returns when it answers.
func (e *engine) begin(t testing.TB) {
	t.Helper()
	e.cmd = exec.Command(e.program, e.options...)
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for n := 0; ; n++ {
		answer, err := e.ask("PING")
		if err == nil && (answer == "PONG" || strings.HasPrefix(answer, "-NOAUTH")) {
			return
		}
		if !pause(ctx, n) {
			said, _ := os.ReadFile(e.log())
			t.Fatalf("redis-server does not answer: %q, %v: %s", answer, err, said)
		}
	}
}

// kill ends the server with SIGKILL.
func (e *engine) kill(t testing.TB) {
	t.Helper()
	if e.cmd == nil {
		return
	}
	_ = e.cmd.Process.Kill()
	if err := e.cmd.Wait(); err != nil && !strings.Contains(err.Error(), "killed") {
		t.Errorf("redis-server: %v", err)
	}
	e.cmd = nil
}

func (e *engine) log() string { return filepath.Join(e.dir, "log") }

func (e *engine) url() string { return "redis://127.0.0.1:" + e.port }

// ask has the server run a command, by a connection of its own, and returns the line that
// it answers.
func (e *engine) ask(words ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+e.port, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(conn, "%s\r\n", strings.Join(words, " ")); err != nil {
		return "", err
	}
	line := make([]byte, 4096)
	n, err := conn.Read(line)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.TrimPrefix(string(line[:n]), "+")), nil
}

// must is ask for what has to work.
func (e *engine) must(t testing.TB, words ...string) string {
	t.Helper()
	answer, err := e.ask(words...)
	if err == nil && strings.HasPrefix(answer, "-") {
		err = errors.New(answer)
	}
	if err != nil {
		t.Fatalf("%v: %v", words, err)
	}
	return answer
}

// linked reports whether a replica hears its master.
func (e *engine) linked(t testing.TB) bool {
	return field(e.must(t, "INFO", "replication"), "master_link_status") == "up"
}

// synced returns when e has all that its master has.
func (e *engine) synced(t testing.TB, master *engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	offset := func(of *engine) string { return field(of.must(t, "INFO", "replication"), "master_repl_offset") }
	for n := 0; !e.linked(t) || offset(e) != offset(master); n++ {
		if !pause(ctx, n) {
			t.Fatalf("the replica does not follow: %s", e.must(t, "INFO", "replication"))
		}
	}
}

var prefixes atomic.Int64

// fresh returns a prefix that nobody has used.
func fresh() string { return fmt.Sprintf("test-%d", prefixes.Add(1)) }

// open returns a broker that is closed with the test.
func open(t testing.TB, url string, o Options) *Broker {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = fresh()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(lines{t}, nil))
	}
	b, err := Open(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// lines notes what is logged for a failure.
type lines struct{ t testing.TB }

func (l lines) Write(b []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

// guard starts a Sentinel, which by itself decides that master has failed.
func guard(t testing.TB, master *engine) *engine {
	t.Helper()
	e := &engine{program: master.program, dir: t.TempDir(), port: freePort(t)}
	file := filepath.Join(e.dir, "sentinel.conf")
	settings := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nlogfile %s\nsentinel monitor chime 127.0.0.1 %s 1\n"+
		"sentinel down-after-milliseconds chime 500\nsentinel failover-timeout chime 2000\n", e.port, e.dir, e.log(), master.port)
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	e.options = []string{file, "--sentinel"}
	e.begin(t)
	t.Cleanup(func() { e.kill(t) })
	eventually(t, "the Sentinel knows the replica", func() bool { return strings.Contains(e.must(t, "INFO", "sentinel"), "slaves=1") })
	return e
}

// signal sends the server a signal.
func (e *engine) signal(t testing.TB, name string) {
	t.Helper()
	if out, err := exec.Command("kill", "-"+name, strconv.Itoa(e.cmd.Process.Pid)).CombinedOutput(); err != nil {
		t.Fatalf("kill -%s: %v %s", name, err, out)
	}
}
