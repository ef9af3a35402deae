//go:build unix

// Package nonblock reads and writes sockets as the many idle connections of a
// server need it: a write that never waits, and a read that holds no buffer while
// it waits. Where a connection is no plain socket, its caller uses net.Conn.
package nonblock

import (
	"net"
	"syscall"
)

// Writer writes to sockets without ever waiting for one. It is used by one
// goroutine.
type Writer struct {
	b   []byte
	n   int
	err error
	do  func(fd uintptr) bool // made once, so that a write allocates nothing
}

// Init makes w ready for use.
func (w *Writer) Init() { w.do = w.once }

func (w *Writer) once(fd uintptr) bool {
	for {
		w.n, w.err = syscall.Write(int(fd), w.b)
		if w.err != syscall.EINTR { //nolint:errorlint // a bare errno, on the fan-out path
			return true // also on EAGAIN: the caller must not wait here
		}
	}
}

// Write writes what the kernel takes at once. Less than len(b) without an error
// means that the rest would block. The error may be ErrNoSocket.
func (w *Writer) Write(raw syscall.RawConn, b []byte) (int, error) {
	if raw == nil {
		return 0, ErrNoSocket
	}
	w.b = b
	err := raw.Write(w.do)
	w.b = nil
	if err != nil {
		return 0, err
	}
	if w.err == syscall.EAGAIN { //nolint:errorlint // as above
		return 0, nil
	}
	return max(w.n, 0), w.err
}

// Socket returns what Writer and Reader need, or nil where all has to go through
// nc: TLS, connections that are no sockets, and those that embed one. Those have
// SyscallConn too, but may change what is read and written, and what one was to
// encrypt must not go out as it is.
func Socket(nc net.Conn) syscall.RawConn {
	var sc syscall.Conn
	switch c := nc.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
