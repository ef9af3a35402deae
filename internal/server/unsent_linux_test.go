package server_test

import (
	"net"
	"net/http"
	"syscall"
	"testing"

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
