//go:build linux || darwin

package nonblock

import (
	"net"
	"syscall"
)

// setTCP sets an option of the TCP connection below nc: of TLS, and of what embeds
// one. An option, unlike a byte, can't be set past those.
func setTCP(nc net.Conn, option, value int) bool {
	for {
		inner, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = inner.NetConn()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	if failed := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, option, value)
	}); failed != nil {
		return false
	}
	return err == nil
}
