package server_test

import (
	"net"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/server"
)

// The kernel takes little of what it can't send yet, on each connection that the server
// has for itself: or a client that reads slowly is taken for one that does not read.
func TestTheKernelTakesLittleThatItCanNotSend(t *testing.T) {
	const notSentLowat, most = 0x19, 64 << 10 // TCP_NOTSENT_LOWAT of tcp(7)
	for _, n := range networks {
		for _, way := range ways {
			if n.streamsOnly() || way.bubble { // these the server reaches through net/http only
				continue
			}
			t.Run(way.name+"/"+n.name, func(t *testing.T) {
				conns := make(chan *net.TCPConn, 1)
				n.accepted = func(c *net.TCPConn) { conns <- c }
				s := newStage(t, server.Config{}, func(t *testing.T, h http.Handler) func() (peer, error) {
					on := serve(t, n, h)
					return func() (peer, error) { return way.connect(on) }
				})
				s.enter()
				raw, err := (<-conns).SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				var got int
				if failed := raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, notSentLowat) }); failed != nil || err != nil {
					t.Fatal(failed, err)
				}
				if got != most {
					t.Errorf("got %d bytes, want %d", got, most)
				}
			})
		}
	}
}

// The kernel gives a client up that only reads and acknowledges nothing, on each connection
// that the server has for itself; one that answers is judged by its answers.
func TestTheKernelGivesUpAStreamThatAcknowledgesNothing(t *testing.T) {
	const userTimeout = 0x12 // TCP_USER_TIMEOUT of tcp(7)
	for _, test := range []struct {
		name   string
		n      network
		path   string
		header []string
		want   int
	}{
		{"bare", network{}, "/sse?join=room:1", nil, 30_000},
		{"bare, TLS", network{tls: true}, "/sse?join=room:1", nil, 30_000},
		{"chime", network{}, "/sse", []string{"Chime-Received: 0"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			conns := make(chan *net.TCPConn, 1)
			test.n.accepted = func(c *net.TCPConn) { conns <- c }
			s := newStage(t, server.Config{}, func(t *testing.T, h http.Handler) func() (peer, error) {
				on := serve(t, test.n, h)
				return func() (peer, error) { return on.stream(test.path, test.header...) }
			})
			s.enter()
			raw, err := (<-conns).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			got := -1
			for due := time.Now().Add(10 * time.Second); got != test.want && time.Now().Before(due); runtime.Gosched() { // it comes behind the header
				if failed := raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout) }); failed != nil || err != nil {
					t.Fatal(failed, err)
				}
			}
			if got != test.want {
				t.Errorf("got %d ms, want %d", got, test.want)
			}
		})
	}
}
