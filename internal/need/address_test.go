package need

import (
	"net"
	"runtime"
	"strconv"
	"testing"
)

func TestAnAddressThatWasLetGoOfIsThereAgain(t *testing.T) {
	if runtime.GOOS != "linux" {
		missing(t, "needs Linux, where a server can have a loopback address of its own")
	}
	const tries = 20 // somebody may have the port of 127.0.0.1 already
	for range tries {
		before, err := net.Listen("tcp", Address())
		if err != nil {
			t.Fatal(err)
		}
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		port := before.Addr().(*net.TCPAddr).Port
		another, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		defer another.Close()
		after, err := net.Listen("tcp", before.Addr().String())
		if err != nil {
			t.Fatalf("the port was given to another server: %v", err)
		}
		defer after.Close()
		return
	}
	t.Fatalf("none of %d ports was free on 127.0.0.1", tries)
}
