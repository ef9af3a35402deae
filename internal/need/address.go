package need

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
)

// Address returns where a server can listen that is ended and started again: on
// a free port of a loopback address of its own. Of 127.0.0.1 the kernel may give
// a port that was closed to any other program, a test server beside this one for
// example. Only Linux answers to all of 127.0.0.0/8.
func Address() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1:0"
	}
	return fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

// Free returns such an address with its port, where nobody listens.
func Free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", Address())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
