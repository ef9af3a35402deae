package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/redistest"
)

func TestFlagsOfABrokerThatMakeNoSense(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		args string // split at spaces
		want string
	}{
		{"--broker", "flag needs an argument"},
		{"--broker=", `--broker "": want redis://host:6379`},
		{"--broker localhost:6379", "--broker: it is no URL: want redis://"},
		{"--broker http://localhost", `--broker: scheme "http": want redis://`},
		{"--broker redis://", "--broker: it names no host"},
		{"--broker redis://:hunter2#@host:6379", "--broker: "},
		{"--broker redis://:hunter2%@host", "--broker: it is no URL"},
		{"--broker nats://u:hunter2%@host,nats://host2", "--broker: it is no URL"},
		{"--broker redis://host --db chime.db", "--db: with --broker, which keeps the messages: want one of the two"},
		{"--broker redis://host --peers a:1", "--peers: it says nothing here: want it with --broker embedded-nats alone"},
		{"--broker redis://host --dir d", "--dir: it says nothing here"},
		{"--broker nats://host --cluster a:1", "--cluster: it says nothing here"},
		{"--broker redis://host --replicas 3", "--replicas: it says nothing here: want it with --broker nats://… alone"},
		{"--broker nats://host --replicas 2", "--replicas 2: want 1, 3 or 5"},
		{"--broker nats://host --wait-replicas 1", "--wait-replicas: it says nothing here: want it with --broker redis://… alone"},
		{"--broker redis://host --wait-replicas -1", "--wait-replicas -1: want 0 or more"},
		{"--broker redis://host --sync-always", "--sync-always: it says nothing here: want it with --broker nats://… or embedded-nats alone"},
		{"--sync-always", "--sync-always: it says nothing here"},
		{"--broker embedded-nats --peers a:1,b:1", "--peers: without --cluster"},
		{"--broker embedded-nats --cluster a:1", "--cluster: without --peers"},
		{"--broker embedded-nats --cluster a:1 --peers a:1", "--cluster: without --peers"},
		{"--broker embedded-nats --cluster a --peers b:1", `--cluster "a": want host:port`},
		{"--broker embedded-nats --cluster a:1 --peers b", `--peers "b": want host:port`},
		{"--broker embedded-nats --dir=", `--dir "": want a directory`},
		{"--broker redis://host --node ftp://a", `--node "ftp://a": want http or https`},
		{"--broker redis://host --node http://a/b", `--node "http://a/b": want http`},
		{"--peers a:1", "--peers: it says nothing here"},
		{"--node http://a", "--node: it says nothing here: want it with a broker alone"},
		{"--prefix p", "--prefix: it says nothing here"},
		{"--broker redis://host --prefix=", `--prefix "": want what begins all names`},
		{"--secret-file f", "--secret-file: it says nothing here"},
		{"--broker embedded-nats --secret-file short", `--secret-file "short": want 32 letters`},
		{"--broker embedded-nats --secret-file no/where", "--secret-file: "},
		{"--broker embedded-nats --prefix a*b", `prefix "a*b"`},
	} {
		if err := os.WriteFile("short", []byte("hunter2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"serve", "--addr", "127.0.0.1:0"}, strings.Fields(tt.args)...), &out, &errs)
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		got := lines[len(lines)-1]
		if code != 1 || !strings.HasPrefix(got, "chime: ") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got exit code %d and %q, want one line with %q", tt.args, code, got, tt.want)
		}
		if strings.Contains(errs.String(), "hunter2") {
			t.Errorf("%s: got %q, want no password in it", tt.args, errs.String())
		}
	}
	if _, err := os.Stat("chime.db"); err == nil {
		t.Error("there is a chime.db of a chat that never opened")
	}
}

// What is not there is said within a time, without the password, and nothing is left open:
// TestMain looks for goroutines.
func TestABrokerThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel() // it waits
	nowhere := need.Free(t)
	for _, url := range []string{"redis://:hunter2@" + nowhere, "nats://chime:hunter2@" + nowhere} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		e := engine{broker: url, prefix: "chime", secretFile: filepath.Join(t.TempDir(), "s")}
		var logs strings.Builder
		k, err := e.open(ctx, io.Discard, slog.New(slog.NewTextHandler(&logs, nil)))
		cancel()
		if k != nil || !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), nowhere) {
			t.Errorf("got %v, want an error that names %s", err, nowhere)
		}
		if all := err.Error() + logs.String(); strings.Contains(all, "hunter2") {
			t.Errorf("got %q, want no password in it", all)
		}
	}
}

func TestWrongCredentialsAreAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t, "--requirepass", "right").URL()
	e := engine{broker: strings.Replace(url, "//", "//:hunter2@", 1), prefix: "chime", secretFile: filepath.Join(t.TempDir(), "s")}
	begun := time.Now()
	_, err := e.open(t.Context(), io.Discard, slog.New(slog.DiscardHandler))
	if err == nil || time.Since(begun) > reachTime/2 || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("after %v: got %v, want an error without the password", time.Since(begun), err)
	}
}

// A node with the directory of another is kept out, and one by itself keeps what is said.
func TestADirectoryIsOfOneNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := engine{broker: embeddedNATS, prefix: "chime", dir: filepath.Join(dir, "node"), secretFile: filepath.Join(dir, "secret")}
	var names []string
	for range 2 {
		k, err := e.open(t.Context(), io.Discard, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if want := "in NATS in " + e.dir + ", where they survive a kill"; k.where != want {
			t.Errorf("got %q, want %q", k.where, want)
		}
		if _, err := e.open(t.Context(), io.Discard, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use by another process: want a directory of this node alone") {
			t.Errorf("a second node: got %v, want an error", err)
		}
		name, _ := os.ReadFile(filepath.Join(e.dir, "node"))
		names = append(names, string(name))
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
	if names[0] == "" || names[0] != names[1] {
		t.Errorf("got the names %q, want the same each time", names)
	}
}

// What a person who starts a node reads is what its flags say.
func TestWhatFlagsSayThatMessagesSurvive(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, "--appendfsync", "no")
	replica := master.Replica(t)
	replica.Synced(t, master)
	for _, c := range []struct {
		engine engine
		want   string
	}{
		{engine{broker: master.URL()}, "a failure may lose them"},
		{engine{broker: master.URL(), waits: 1}, "they survive a kill and the loss of a node"},
		{engine{broker: embeddedNATS}, "they survive a kill"},
		{engine{broker: embeddedNATS, sync: true}, "they survive a kill and a power cut"},
	} {
		dir := t.TempDir()
		c.engine.prefix, c.engine.dir, c.engine.secretFile = "chime", filepath.Join(dir, "node"), filepath.Join(dir, "secret")
		k, err := c.engine.open(t.Context(), io.Discard, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(k.where, c.want) {
			t.Errorf("%+v: got %q, want %q", c.engine, k.where, c.want)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestASecretIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	var wg sync.WaitGroup
	found := make([]secret, 8)
	for i := range found {
		wg.Go(func() {
			var err error
			if found[i], err = readSecret(file); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range found {
		if s != found[0] || len(s) < minSecret {
			t.Errorf("got %d and %d characters that differ, want one secret", len(found[0]), len(s))
		}
	}
	if left, _ := filepath.Glob(file + "?*"); len(left) > 0 {
		t.Errorf("got %q beside it, want nothing", left)
	}
}

func TestWhereANodeIsReached(t *testing.T) {
	bound := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4001}
	for addr, want := range map[string]string{
		"127.0.0.1:0": "http://127.0.0.1:4001", "localhost:4001": "http://localhost:4001", "[::1]:4001": "http://[::1]:4001",
		":4001": "", "0.0.0.0:4001": "", "[::]:4001": "",
	} {
		if got := nodeURL(addr, bound); got != want {
			t.Errorf("--addr %s: got %q, want %q", addr, got, want)
		}
	}
}
