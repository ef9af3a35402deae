package nats_test

import (
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/store"
)

// breaking dials connections of which the next to write much breaks, as often as it is told.
type breaking struct{ times atomic.Int64 }

func (b *breaking) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return breakable{conn, b}, err
}

type breakable struct {
	net.Conn
	by *breaking
}

func (c breakable) Write(p []byte) (int, error) {
	if len(p) > 32<<10 && c.by.times.Add(-1) >= 0 {
		_ = c.Close()
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return c.Conn.Write(p)
}

// What is larger than the buffer of the connection is written at once. If the connection breaks
// in that moment the message is published all the same, once, retained or not.
func TestWhatIsWrittenAsTheConnectionBreaksIsPublished(t *testing.T) {
	t.Parallel()
	b := &breaking{}
	one := open(t, nats.Options{URL: serve(t).URL(), Prefix: prefix(), Connect: []client.Option{client.SetCustomDialer(b), client.ReconnectWait(1)}})
	listen(t, one)
	large := said("a", strings.Repeat("x", 100_000))
	for _, keep := range []*store.Retention{{}, nil} {
		b.times.Store(1)
		if _, err := one.Publish(t.Context(), large, keep); err != nil {
			t.Fatalf("retained %t: %v", keep != nil, err)
		}
		if b.times.Load() >= 0 {
			t.Fatalf("retained %t: no write has failed", keep != nil)
		}
	}
	if n := len(history(t, one, "a").Messages); n != 1 {
		t.Errorf("%d messages are retained, want 1", n)
	}
}
