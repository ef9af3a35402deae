//go:build !unix

package transport

import (
	"net"
	"syscall"
)

// nonblocking is not to be had here: every write gets a goroutine for as long
// as it takes.
type nonblocking struct{}

func (*nonblocking) init() {}

func (*nonblocking) try(syscall.RawConn, []byte) (int, error) { return 0, nil }

func rawConn(net.Conn) syscall.RawConn { return nil }
