package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-chime/chime/store/boltstore"
)

// served is a serve in this process.
type served struct {
	url   string
	stop  context.CancelFunc
	ended chan error
	logs  *strings.Builder // to be read once ended
}

// startServe keeps what is said in the file db, or without one in memory.
func startServe(t *testing.T, addr, db string, origins ...string) *served {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &served{stop: stop, ended: make(chan error, 1), logs: new(strings.Builder)}
	greeting := make(lineWriter, 10)
	go func() {
		defer close(s.ended)
		s.ended <- serve(ctx, serving{addr: addr, db: db, origins: origins}, greeting, s.logs)
		close(greeting)
	}()
	t.Cleanup(func() {
		stop()
		for range s.ended {
		}
	})
	line := receive(t, greeting)
	_, host, ok := strings.Cut(line, "http://")
	if !ok {
		t.Fatalf("got %q as the first line, want where to open the chat", line)
	}
	where := "until this process ends"
	if db != "" {
		where = db + ", also after a restart"
	}
	if rest := receive(t, greeting); !strings.Contains(rest, "2,000 messages for 24 hours") || !strings.Contains(rest, where) {
		t.Errorf("got %q, want what is kept, and %q", rest, where)
	}
	s.url = "http://" + host
	return s
}

func (s *served) wantStop(t *testing.T) {
	t.Helper()
	s.stop()
	if err := receive(t, s.ended); err != nil {
		t.Errorf("stop: got %v, want nil", err)
	}
}

func TestServeTellsItsLife(t *testing.T) {
	s := startServe(t, "127.0.0.1:0", "")
	resp, err := http.Get(s.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || string(body) != "ok\n" {
		t.Errorf("healthz: got %s %q, want 200 ok", resp.Status, body)
	}
	http.DefaultClient.CloseIdleConnections()

	// Somebody is there when it stops, and is sent away.
	pass, _ := enter(t, s.url, "Ann")
	ann := connect(t, s.url, pass)
	ann.join("lobby")
	s.wantStop(t)
	ann.wantEnd()

	for _, want := range []string{
		"msg=listening addr=127.0.0.1:",
		"msg=joined topic=chat_room:lobby name=Ann transport=sse",
		"msg=stopping",
		"msg=left topic=chat_room:lobby name=Ann reason=drain",
		"msg=stopped",
	} {
		if !strings.Contains(s.logs.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, s.logs)
		}
	}
}

// What is said is there again after the end, with its offset and its epoch.
func TestServeKeepsRoomsInAFile(t *testing.T) {
	db := filepath.Join(t.TempDir(), "chime.db")
	s := startServe(t, "127.0.0.1:0", db)
	pass, who := enter(t, s.url, "Ann")
	hello := fmt.Sprintf(`{"name":"Ann","by":%q,"message":"hello","id":"1"}`, who.ID)
	ann := connect(t, s.url, pass)
	ann.join("lobby")
	ann.send("lobby", "message_new", hello)
	ann.want("message_new", hello)
	s.wantStop(t)
	ann.wantEnd()
	before := epochOf(t, db)

	s = startServe(t, "127.0.0.1:0", db)
	bob := connect(t, s.url, pass) // which is good for a server that has the same file
	bob.join("lobby")
	bob.want("message_new", hello)
	s.wantStop(t)
	bob.wantEnd()
	if after := epochOf(t, db); after != before {
		t.Errorf("epoch: got %q, want what it was, %q", after, before)
	}
}

// epochOf is that of the file that a serve has left.
func epochOf(t *testing.T, db string) string {
	t.Helper()
	kept, err := boltstore.Open(db, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	return kept.Epoch()
}

// A file that can't be used is one line that names it, says what is wrong and what to do.
func TestServeSaysWhatIsWrongWithItsFile(t *testing.T) {
	t.Parallel() // it waits
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	locked, err := boltstore.Open(in("locked.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	whole, err := boltstore.Open(in("damaged.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	whole.Close()
	if err := os.Truncate(in("damaged.db"), 9000); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("foreign.db"), []byte(strings.Repeat("no history\n", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ db, why, remedy string }{
		{in("locked.db"), "in use by another process", "a file of its own"},
		{in("damaged.db"), "damaged", "backup"},
		{in("foreign.db"), "not a chime history", "path"},
		{dir, "is a directory", "path of a file"},
		{in("nowhere/chime.db"), "no such file or directory", "create the directory"},
	} {
		var out, errs strings.Builder
		if code := run(t.Context(), []string{"serve", "--addr", "127.0.0.1:0", "--db", tt.db}, &out, &errs); code != 1 {
			t.Errorf("%s: got exit code %d, want 1", tt.db, code)
		}
		got := errs.String()
		for _, want := range []string{"chime: --db: ", tt.db, tt.why, tt.remedy} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q in it", tt.db, got, want)
			}
		}
		if strings.Count(got, "\n") != 1 || out.Len() > 0 {
			t.Errorf("%s: got %q, and %q on stdout, want one line", tt.db, got, out.String())
		}
	}
}

func TestServeSaysThatAPortIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	db := filepath.Join(t.TempDir(), "chime.db")
	err = serve(t.Context(), serving{addr: taken.Addr().String(), db: db}, io.Discard, io.Discard)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("got %v, want an error that names %s", err, taken.Addr())
	}
	if _, err := os.Stat(db); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want no file of a chat that never opened", err)
	}
}

func TestGreetSaysWhoMayReachIt(t *testing.T) {
	for _, tt := range []struct {
		at      net.TCPAddr
		open    string
		warning bool
	}{
		{net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, "http://127.0.0.1:80\n", false},
		{net.TCPAddr{IP: net.IPv6loopback, Port: 80}, "http://[::1]:80\n", false},
		{net.TCPAddr{IP: net.IPv4zero, Port: 80}, "http://localhost:80\n", true},
		{net.TCPAddr{IP: net.IPv6unspecified, Port: 80}, "http://localhost:80\n", true},
		{net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}, "http://10.0.0.1:80\n", true},
	} {
		var out strings.Builder
		greet(&out, &tt.at, "", nil)
		if got := out.String(); !strings.Contains(got, tt.open) {
			t.Errorf("got %q, want %q in it", got, tt.open)
		}
		if got := strings.Contains(out.String(), "Anyone who can reach"); got != tt.warning {
			t.Errorf("%v: warned %v, want %v", tt.at.IP, got, tt.warning)
		}
	}
}
