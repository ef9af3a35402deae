//go:build unix

package transport

import (
	"net"
	"syscall"
)

// nonblocking writes to a socket without ever waiting for it. One is used by
// one goroutine; its method value is made once, so that a write allocates nothing.
type nonblocking struct {
	b   []byte
	n   int
	err error
	do  func(fd uintptr) bool
}

func (w *nonblocking) init() { w.do = w.once }

func (w *nonblocking) once(fd uintptr) bool {
	for {
		w.n, w.err = syscall.Write(int(fd), w.b)
		if w.err != syscall.EINTR {
			return true // also on EAGAIN: the caller must not wait here
		}
	}
}

// try writes what the kernel takes at once. Less than len(b) without an error
// means that the rest would block.
func (w *nonblocking) try(raw syscall.RawConn, b []byte) (int, error) {
	if raw == nil {
		return 0, nil
	}
	w.b = b
	err := raw.Write(w.do)
	w.b = nil
	if err != nil {
		return 0, err
	}
	if w.err == syscall.EAGAIN {
		return 0, nil
	}
	return max(w.n, 0), w.err
}

// rawConn returns what try needs, or nil where writes have to block: TLS, and
// connections that are no sockets.
func rawConn(nc net.Conn) syscall.RawConn {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
