//go:build unix

package nonblock

import (
	"io"
	"sync"
	"syscall"
)

// Reader reads a socket into a buffer that is borrowed only while it holds
// something: an idle connection costs none. It is used by one goroutine.
type Reader struct {
	raw  syscall.RawConn
	buf  *[readBytes]byte
	r, n int32
	err  error
	do   func(fd uintptr) bool // made once, so that a read allocates nothing
}

const readBytes = 4 << 10

var buffers = sync.Pool{New: func() any { return new([readBytes]byte) }}

// Init makes a Reader of raw, which is nil where there is no socket to read.
func (a *Reader) Init(raw syscall.RawConn) {
	a.raw = raw
	if raw != nil {
		a.do = a.once
	}
}

// Possible reports whether Read can be used.
func (a *Reader) Possible() bool { return a.raw != nil }

// Socket is what Init was given.
func (a *Reader) Socket() syscall.RawConn { return a.raw }

func (a *Reader) once(fd uintptr) bool {
	buf := buffers.Get().(*[readBytes]byte)
	for {
		n, err := syscall.Read(int(fd), buf[:])
		switch {
		case err == syscall.EINTR:
			continue
		case n > 0:
			a.buf, a.r, a.n = buf, 0, int32(n)
			return true
		}
		buffers.Put(buf)
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

// Buffered reports whether something has been read that Read has not returned.
func (a *Reader) Buffered() bool { return a.buf != nil }

// Read is io.Reader's Read; with an empty p it waits until something is buffered.
func (a *Reader) Read(p []byte) (int, error) {
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
		a.Discard()
	}
	return n, nil
}

// Discard drops what is buffered, and returns how many bytes that were.
func (a *Reader) Discard() int {
	if a.buf == nil {
		return 0
	}
	buffers.Put(a.buf)
	a.buf = nil
	return int(a.n - a.r)
}
