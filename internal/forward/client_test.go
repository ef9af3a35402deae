package forward

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// flood writes until nobody reads any more.
func flood(w io.Writer, due func(time.Time) error) {
	for block, err := make([]byte, 64<<10), error(nil); err == nil; {
		_ = due(time.Now().Add(100 * time.Millisecond))
		_, err = w.Write(block)
	}
}

// deaf are requests of clients that read nothing, and how the other node answers them.
var deaf = []struct {
	name, head string
	serve      http.HandlerFunc
}{
	{"stream", "", func(w http.ResponseWriter, _ *http.Request) {
		flood(w, http.NewResponseController(w).SetWriteDeadline)
	}},
	{"upgrade", "Connection: Upgrade\r\nUpgrade: websocket\r\n", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		flood(conn, conn.SetWriteDeadline)
	}},
}

// newDeaf has a client send a request whose answer it does not read, and returns when the
// other node can write no more: the first is stuck.
func newDeaf(t *testing.T, head string, serve http.HandlerFunc, stuckFor time.Duration) *pair {
	t.Helper()
	stuck := make(chan struct{})
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(stuck)
		serve(w, r)
	})
	p.forwarder.config.StuckFor = stuckFor
	conn, err := net.Dial("tcp", p.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET /app/socket/sse HTTP/1.1\r\nHost: app.example\r\nFor: node-002\r\n"+head+"\r\n"); err != nil {
		t.Fatal(err)
	}
	<-stuck
	return p
}

func TestADrainDoesNotWaitForAClientThatReadsNoMore(t *testing.T) {
	for _, c := range deaf {
		t.Run(c.name, func(t *testing.T) {
			p := newDeaf(t, c.head, c.serve, time.Hour)
			p.forwarder.Drain(t.Context(), over(0))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := p.forwarder.Wait(ctx); err != nil {
				t.Errorf("got %v: want that it ends in %v", err, farewell)
			}
		})
	}
}

func TestAClientThatReadsNoMoreIsGivenUp(t *testing.T) {
	for _, c := range deaf {
		t.Run(c.name, func(t *testing.T) {
			p := newDeaf(t, c.head, c.serve, 200*time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := p.forwarder.Wait(ctx); err != nil {
				t.Errorf("got %v: want that it ends when a write has been stuck", err)
			}
		})
	}
}
