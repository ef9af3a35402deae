package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// server is a chime serve that can be ended and started again at one address,
// with what it has kept.
type server struct {
	url, addr string
	dir       string // its own: chime.db is there
	flags     []string
	*process
}

// opened is the line that says where to point the browser.
var opened = regexp.MustCompile(`http://(127\.[\d.]+:\d+)`)

// serve starts chime serve on an address of its own.
func serve(t testing.TB, flags ...string) *server {
	t.Helper()
	s := &server{addr: need.Address(), dir: t.TempDir(), flags: flags}
	s.start(t)
	return s
}

// start is also called after stop, and then takes the same address. The test's
// end interrupts the server and expects that it ends well.
func (s *server) start(t testing.TB) {
	t.Helper()
	args := append([]string{"serve", "--addr", s.addr}, s.flags...)
	cmd := exec.Command(program(t), args...)
	cmd.Dir = s.dir
	s.process = start(t, cmd)
	t.Cleanup(func() { s.stop(t) })
	where := s.line(t, opened)
	s.url, s.addr = where[0], where[1]
}

func (s *server) stop(t testing.TB) {
	t.Helper()
	select {
	case <-s.done:
	default:
		if err := s.interrupt(t); err != nil {
			t.Errorf("chime serve on SIGINT: %v", err)
		}
	}
}

// restart ends the server as Ctrl-C does, and starts it anew at its address.
func (s *server) restart(t testing.TB) {
	t.Helper()
	s.stop(t)
	s.start(t)
}

// kept returns what the server has left in its file, a message a line.
func (s *server) kept(t testing.TB) string {
	t.Helper()
	cmd := exec.Command(program(t), "history", "export", "chime.db")
	cmd.Dir = s.dir
	lines, err := cmd.Output()
	if err != nil {
		t.Fatalf("chime history export: %v", err)
	}
	return string(lines)
}

// post says something in a room, from outside any socket and through an
// HTTP handler; it returns once the message is kept.
func (s *server) post(t testing.TB, room, message string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"message": message})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/rooms/"+room+"/messages", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		said, _ := io.ReadAll(res.Body)
		t.Fatalf("POST to room %s: got %s %s, want success", room, res.Status, said)
	}
}
