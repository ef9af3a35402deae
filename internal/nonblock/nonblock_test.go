//go:build unix

package nonblock

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
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

func TestAPeerThatMakesNoRoomIsGivenUp(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux bounds that")
	}
	here, _ := pair(t)
	if !BoundUnacked(here, time.Second) {
		t.Fatal("a TCP connection has no such bound")
	}
	fill(t, here)
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("got %v, want %v", err, syscall.ETIMEDOUT)
	}
}

// A peer that reads, however little, is seen to read: what it has read makes room.
func TestAPeerThatReadsALittleMakesRoom(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("only Linux and macOS have the option")
	}
	here, there := pair(t)
	if !BoundUnsent(here) {
		t.Fatal("a TCP connection has no such bound")
	}
	fill(t, here)
	_ = here.SetWriteDeadline(time.Now().Add(10 * time.Second))
	waiting, room := make(chan struct{}), make(chan error)
	go func() {
		tries := 0
		room <- Socket(here).Write(func(uintptr) bool {
			if tries++; tries == 1 {
				close(waiting)
			}
			return tries > 1
		})
	}()
	<-waiting
	const little = 256 << 10 // of some megabytes
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.CopyN(io.Discard, there, little)
	}()
	if err := <-room; err != nil {
		t.Errorf("the peer has read %d bytes, and there is no room for more: %v", little, err)
	}
	_ = here.Close()
	<-read
}

// fill writes until there is no room, and nobody reads.
func fill(t *testing.T, conn net.Conn) {
	t.Helper()
	var w Writer
	w.Init()
	for chunk := make([]byte, 64<<10); ; {
		if n, err := w.Write(Socket(conn), chunk); err != nil {
			t.Fatal(err)
		} else if n < len(chunk) {
			return
		}
	}
}

func TestOfWhatWrapsAConnectionOnlyOptionsAreSet(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("only Linux and macOS have the option")
	}
	here, there := pair(t)
	for _, test := range []struct {
		name string
		conn net.Conn
		want bool
	}{
		{"TLS", tls.Client(here, &tls.Config{}), true},
		{"what embeds a TCP connection", wrapped{here.(*net.TCPConn)}, true},
		{"what hides it", struct{ net.Conn }{there}, false},
		{"a pipe", first(net.Pipe()), false},
	} {
		if got := BoundUnacked(test.conn, time.Minute); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func first(conn, _ net.Conn) net.Conn { return conn }
