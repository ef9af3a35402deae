package embedded

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines are those of a log.
type lines struct {
	mu   sync.Mutex // guards list
	list []string
}

func (w *lines) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, string(line))
	return len(line), nil
}

func (w *lines) take() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, w.list = w.list, nil
	return list
}

// Peers that are not there yet are no error. One that stays away is told of once, and each when
// it comes.
func TestAPeerThatStaysAwayIsToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text lines
		log := slog.New(slog.NewTextHandler(&text, nil))
		l := logger{log, &peers{log: log, began: time.Now()}}
		try := func(address string) {
			at, err := net.ResolveTCPAddr("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			l.Errorf("Error trying to connect to route (attempt %v): %v", 1, error(&net.OpError{Op: "dial", Net: "tcp", Addr: at, Err: errors.New("refused")}))
		}
		want := func(when string, list ...string) {
			t.Helper()
			synctest.Wait()
			got := text.take()
			if len(got) != len(list) {
				t.Fatalf("%s: got %q, want %q", when, got, list)
			}
			for i, line := range list {
				if !strings.Contains(got[i], line) {
					t.Errorf("%s: got %q, want %q in it", when, got[i], line)
				}
			}
		}
		for range 10 {
			try("10.0.0.1:6222")
			try("10.0.0.2:6222")
			time.Sleep(time.Second)
		}
		for range 45 {
			try("10.0.0.1:6222")
			time.Sleep(time.Second)
		}
		want("one has come, as at each start")
		for range 300 {
			try("10.0.0.1:6222")
			time.Sleep(time.Second)
		}
		want("the other stays away", `level=WARN msg="broker/nats/embedded: a peer can't be reached" peer=10.0.0.1:6222 for=1m0s`)
		time.Sleep(silence)
		want("it has come", "level=INFO")
		for range 15 {
			try("10.0.0.1:6222")
			time.Sleep(time.Second)
		}
		want("it has gone again", `level=WARN msg="broker/nats/embedded: a peer can't be reached" peer=10.0.0.1:6222 for=10s`)
		time.Sleep(silence)
		want("it is back", "level=INFO")
		for range 90 {
			l.Errorf("127.0.0.1:6222 - rid:9 - Route Error %s", "'Authorization Violation'")
			time.Sleep(time.Second)
		}
		want("one has another secret", "level=ERROR msg=\"broker/nats/embedded: another secret", "level=ERROR msg=\"broker/nats/embedded: another secret")
		l.Warnf("Waiting for routing to be established...")
		want("what each start has")
		l.Warnf("a disk is %s", "slow")
		want("another warning", "level=WARN")
		l.Errorf("a disk %s", "fails")
		want("another error", "level=ERROR")
		for range 2 {
			l.Errorf("127.0.0.1:4222 - cid:7 - %v", "authentication error")
		}
		want("a client is refused", "level=ERROR msg=\"broker/nats/embedded: nats-server", "level=ERROR msg=\"broker/nats/embedded: nats-server")
		try("10.0.0.1:6222")
		l.peers.close()
		time.Sleep(time.Hour)
		want("the server has ended")
	})
}
