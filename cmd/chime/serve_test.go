package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// served is a serve in this process.
type served struct {
	url   string
	stop  context.CancelFunc
	ended chan error
	logs  *strings.Builder // to be read once ended
}

func startServe(t *testing.T, addr string) *served {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &served{stop: stop, ended: make(chan error, 1), logs: new(strings.Builder)}
	greeting := make(lineWriter, 10)
	go func() {
		defer close(s.ended)
		s.ended <- serve(ctx, addr, nil, greeting, s.logs)
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
	if rest := receive(t, greeting); !strings.Contains(rest, "1,000 messages for 24 hours") || !strings.Contains(rest, "gone") {
		t.Errorf("got %q, want what is kept", rest)
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
	s := startServe(t, "127.0.0.1:0")
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
	ann := connect(t, s.url)
	ann.join("lobby", `{"name":"Ann"}`)
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

func TestServeSaysThatAPortIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = serve(t.Context(), taken.Addr().String(), nil, io.Discard, io.Discard)
	var op *net.OpError
	if !errors.As(err, &op) || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("got %v, want an error that names %s", err, taken.Addr())
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
		greet(&out, &tt.at)
		if got := out.String(); !strings.Contains(got, tt.open) {
			t.Errorf("got %q, want %q in it", got, tt.open)
		}
		if got := strings.Contains(out.String(), "Whoever reaches"); got != tt.warning {
			t.Errorf("%v: warned %v, want %v", tt.at.IP, got, tt.warning)
		}
	}
}
