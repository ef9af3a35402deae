package apps_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/go-chime/chime/internal/raw"
)

// http2Writer is what a client on a stream of HTTP/2 writes to.
type http2Writer struct {
	net.Conn // nil: there is none
	io.WriteCloser
}

func (w http2Writer) Write(p []byte) (int, error) { return w.WriteCloser.Write(p) }
func (w http2Writer) Close() error                { return w.WriteCloser.Close() }

// openHTTP2 opens a WebSocket with an extended CONNECT.
func openHTTP2(t *testing.T, s *raw.Site, c *http2.Transport, target string, header ...string) (*raw.Socket, *http.Response) {
	t.Helper()
	body, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "http://"+s.Host+target, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(":protocol", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return &raw.Socket{T: t, Conn: http2Writer{WriteCloser: w}, R: bufio.NewReader(res.Body), Head: raw.AnswerOf(res)}, res
}

// TestWebSocketOnHTTP2 runs itself with what net/http wants to be told at its start
// (RFC 8441).
func TestWebSocketOnHTTP2(t *testing.T) {
	if os.Getenv("GODEBUG") != "http2xconnect=1" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWebSocketOnHTTP2$", "-test.count=1")
		child.Env = append(os.Environ(), "GODEBUG=http2xconnect=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	open := func(t *testing.T, run func(t *testing.T, s *raw.Site, c *http2.Transport)) {
		p := new(http.Protocols)
		p.SetUnencryptedHTTP2(true)
		server := &http.Server{Protocols: p, ReadTimeout: time.Second, WriteTimeout: time.Second}
		raw.InBubble(t, server, nil, func(t *testing.T, s *raw.Site) {
			c := &http2.Transport{AllowHTTP: true, DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) { return s.Dial() }}
			t.Cleanup(c.CloseIdleConnections)
			run(t, s, c)
		})
	}
	t.Run("it lives through silence, and ends with a goodbye", func(t *testing.T) {
		open(t, func(t *testing.T, s *raw.Site, c *http2.Transport) {
			ws, res := openHTTP2(t, s, c, "/socket/websocket", "Sec-WebSocket-Protocol", "chime.v1") //nolint:bodyclose // openHTTP2 has it closed
			if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 || res.Header.Get("Sec-WebSocket-Protocol") != "chime.v1" || res.Header.Get("Sec-WebSocket-Accept") != "" {
				t.Fatalf("got %s %s %v", res.Proto, res.Status, res.Header)
			}
			_ = raw.SecretIn(t, ws.Next())
			ws.Join("hall:1", "guest")
			for range 4 {
				ws.Want(`[null,null,"chime","heartbeat",{"sent":1,"received":1}]`)
				ws.Text(`[null,null,"chime","heartbeat",{"received":1}]`)
			}
			if err := s.Live.Broadcast(t.Context(), "hall:1", "tick", nil); err != nil {
				t.Fatal(err)
			}
			ws.Want(`[null,null,"hall:1","tick",{}]`)
			ws.Text(`[null,null,"chime","goodbye",{}]`)
			s.Hall.WantLeft(t, "hall:1", "guest", "closed")
		})
	})
	t.Run("its client vanishes", func(t *testing.T) {
		open(t, func(t *testing.T, s *raw.Site, c *http2.Transport) {
			ws, res := openHTTP2(t, s, c, raw.PhoenixTarget)
			ws.Join("hall:1", "guest")
			_ = res.Body.Close()
			s.Hall.WantLeft(t, "hall:1", "guest", "vanished")
		})
	})
	t.Run("a server that drains says so", func(t *testing.T) {
		open(t, func(t *testing.T, s *raw.Site, c *http2.Transport) {
			ws, _ := openHTTP2(t, s, c, raw.PhoenixTarget) //nolint:bodyclose // openHTTP2 has it closed
			ws.Join("hall:1", "guest")
			s.Shutdown(t)
			s.Hall.WantLeft(t, "hall:1", "guest", "drain")
			if op, payload, err := ws.Read(); err != nil || op != raw.OpClose || payload[:2] != "\x03\xf4" {
				t.Errorf("got %d %q %v, want a close with 1012", op, payload, err)
			}
		})
	})
	t.Run("another origin is refused", func(t *testing.T) {
		open(t, func(t *testing.T, s *raw.Site, c *http2.Transport) {
			ws, _ := openHTTP2(t, s, c, raw.PhoenixTarget, "Origin", "https://evil.example") //nolint:bodyclose // openHTTP2 has it closed
			ws.Head.Want(t, http.StatusForbidden, `{"reason":"origin not allowed"}`)
		})
	})
}
