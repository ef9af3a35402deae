//go:build !unix

package server

import (
	"errors"
	"net"
	"syscall"
)

// nonblocking is not to be had here: every write gets a goroutine for as long
// as it takes.
type nonblocking struct{}

func (*nonblocking) init() {}

func (*nonblocking) try(syscall.RawConn, []byte) (int, error) { return 0, nil }

func rawConn(net.Conn) syscall.RawConn { return nil }

// readAhead is not to be had here either: connections are read directly.
type readAhead struct{}

func (*readAhead) init(syscall.RawConn)     {}
func (*readAhead) possible() bool           { return false }
func (*readAhead) socket() syscall.RawConn  { return nil }
func (*readAhead) held() bool               { return false }
func (*readAhead) read([]byte) (int, error) { return 0, errors.ErrUnsupported }
func (*readAhead) giveBack() int            { return 0 }
