//go:build unix

package server

import (
	"io"
	"net"
	"sync"
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
		if w.err != syscall.EINTR { //nolint:errorlint // a bare errno, on the fan-out path
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
	if w.err == syscall.EAGAIN { //nolint:errorlint // as above
		return 0, nil
	}
	return max(w.n, 0), w.err
}

// rawConn returns what try and readAhead need, or nil where all has to go
// through nc: TLS, connections that are no sockets, and those that embed one.
// Those have SyscallConn too, but may change what is read and written, and what
// one was to encrypt must not go out as it is.
func rawConn(nc net.Conn) syscall.RawConn {
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

// readAhead reads a socket into a buffer that is borrowed only while it holds
// something: an idle connection costs none. It is used by one goroutine.
type readAhead struct {
	raw  syscall.RawConn
	buf  *[readAheadBytes]byte
	r, n int32
	err  error
	do   func(fd uintptr) bool // made once, as above
}

const readAheadBytes = 4 << 10

var readAheads = sync.Pool{New: func() any { return new([readAheadBytes]byte) }}

func (a *readAhead) init(raw syscall.RawConn) {
	a.raw = raw
	if raw != nil {
		a.do = a.once
	}
}

// socket is what is read, nil where it can't be.
func (a *readAhead) socket() syscall.RawConn { return a.raw }

// possible reports whether read can be used.
func (a *readAhead) possible() bool { return a.raw != nil }

func (a *readAhead) once(fd uintptr) bool {
	buf := readAheads.Get().(*[readAheadBytes]byte)
	for {
		n, err := syscall.Read(int(fd), buf[:])
		switch {
		case err == syscall.EINTR:
			continue
		case n > 0:
			a.buf, a.r, a.n = buf, 0, int32(n)
			return true
		}
		readAheads.Put(buf)
		if err == syscall.EAGAIN {
			return false // wait, without the buffer
		}
		if err == nil {
			err = io.EOF
		}
		a.err = err
		return true
	}
}

// held reports whether something has been read that read has not given out.
func (a *readAhead) held() bool { return a.buf != nil }

// read is io.Reader's Read; with an empty p it waits until something is held.
func (a *readAhead) read(p []byte) (int, error) {
	if a.buf == nil {
		if err := a.raw.Read(a.do); err != nil {
			return 0, err
		}
		if a.err != nil {
			return 0, a.err
		}
	}
	n := copy(p, a.buf[a.r:a.n])
	a.r += int32(n)
	if a.r == a.n {
		a.giveBack()
	}
	return n, nil
}

// giveBack drops what has not been read, and returns how much that is.
func (a *readAhead) giveBack() int {
	if a.buf == nil {
		return 0
	}
	readAheads.Put(a.buf)
	a.buf = nil
	return int(a.n - a.r)
}
