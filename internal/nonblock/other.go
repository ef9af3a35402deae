//go:build !unix

// Package nonblock has nothing to offer here: connections are read and written
// directly, each write by a goroutine for as long as it takes.
package nonblock

import (
	"errors"
	"net"
	"syscall"
)

// Writer writes nothing.
type Writer struct{}

// Init does nothing.
func (*Writer) Init() {}

// Write leaves all to a write that may wait.
func (*Writer) Write(syscall.RawConn, []byte) (int, error) { return 0, ErrNoSocket }

// Socket returns nil.
func Socket(net.Conn) syscall.RawConn { return nil }

// Reader can't be used.
type Reader struct{}

// Init does nothing.
func (*Reader) Init(syscall.RawConn) {}

// Possible returns false.
func (*Reader) Possible() bool { return false }

// Socket returns nil.
func (*Reader) Socket() syscall.RawConn { return nil }

// Buffered returns false.
func (*Reader) Buffered() bool { return false }

// Read is not called.
func (*Reader) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Discard returns 0.
func (*Reader) Discard() int { return 0 }
