//go:build linux || darwin

package nonblock

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// A peer that reads, however little, is seen to read: what it has read makes room.
func TestAPeerThatReadsALittleMakesRoom(t *testing.T) {
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
