package forward

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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

// On HTTP/2 a deadline ends a stream that writes nothing, too.
func TestAQuietStreamIsNotGivenUp(t *testing.T) {
	const stuckFor = 50 * time.Millisecond
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		for range 3 {
			_, _ = io.WriteString(w, "frame")
			_ = rc.Flush()
			select {
			case <-time.After(3 * stuckFor):
			case <-r.Context().Done():
			}
		}
	})
	p.forwarder.config.StuckFor = stuckFor
	front := httptest.NewUnstartedServer(p.front.Config.Handler)
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+"/app/socket/sse", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("For", "node-002")
	resp, err := front.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); resp.ProtoMajor != 2 || string(body) != "frameframeframe" || err != nil {
		t.Errorf("got %s %q, %v, want three frames", resp.Proto, body, err)
	}
}
