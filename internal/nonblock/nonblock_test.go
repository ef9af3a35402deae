//go:build unix

package nonblock

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if there, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	for _, conn := range []net.Conn{here, there} {
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	}
	return here, there
}

func TestAWriteToAFullSocketReturns(t *testing.T) {
	here, there := pair(t)
	var w Writer
	w.Init()
	chunk := make([]byte, 64<<10)
	written := 0
	for {
		n, err := w.Write(Socket(here), chunk)
		if err != nil {
			t.Fatal(err)
		}
		written += n
		if n < len(chunk) {
			break // nobody reads: a write that waits would fail here, by its deadline
		}
	}
	if _, err := io.ReadFull(there, make([]byte, written)); err != nil {
		t.Errorf("%d bytes were reported as written: %v", written, err)
	}
}

func TestAReaderHoldsABufferOnlyWhileItHasSomething(t *testing.T) {
	here, there := pair(t)
	var r Reader
	r.Init(Socket(here))
	if _, err := there.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(nil); n != 0 || err != nil || !r.Buffered() {
		t.Fatalf("waiting: got %d, %v and Buffered %v, want 0, nil and true", n, err, r.Buffered())
	}
	p := make([]byte, 4)
	if n, err := r.Read(p); string(p[:n]) != "hell" || err != nil || !r.Buffered() {
		t.Fatalf("got %q, %v and Buffered %v, want \"hell\", nil and true", p[:n], err, r.Buffered())
	}
	if n := r.Discard(); n != 1 || r.Buffered() {
		t.Errorf("got %d bytes discarded and Buffered %v, want 1 and false", n, r.Buffered())
	}
	_ = there.Close()
	if _, err := r.Read(p); !errors.Is(err, io.EOF) {
		t.Errorf("got %v at the end, want EOF", err)
	}
}

// wrapped is a connection that may change what is written, as TLS does.
type wrapped struct{ *net.TCPConn }

func TestOnlyAPlainSocketIsWrittenDirectly(t *testing.T) {
	here, _ := pair(t)
	if Socket(here) == nil {
		t.Error("got no socket of a TCP connection")
	}
	if Socket(wrapped{here.(*net.TCPConn)}) != nil {
		t.Error("got the socket of a connection that wraps one: what it was to encrypt would go out as it is")
	}
}
