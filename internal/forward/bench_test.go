package forward

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
)

// bare is another node that takes as little memory as can be: it answers each connection
// once, and keeps it.
type bare struct {
	net.Listener
	mu    sync.Mutex // guards conns
	conns []net.Conn
	ended sync.WaitGroup
}

func newBare(tb testing.TB, answer string) *bare {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	n := &bare{Listener: l}
	n.ended.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.conns = append(n.conns, conn)
			n.mu.Unlock()
			if !readHead(conn) {
				continue
			}
			_, _ = io.WriteString(conn, answer)
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		n.ended.Wait()
		for _, conn := range n.conns {
			_ = conn.Close()
		}
	})
	return n
}

// readHead reads a request, or the head of an answer, and nothing behind it.
func readHead(conn net.Conn) bool {
	var head [4]byte
	for string(head[:]) != "\r\n\r\n" {
		copy(head[:], head[1:])
		if _, err := conn.Read(head[3:]); err != nil {
			return false
		}
	}
	return true
}

// forwardings are what lasts for hours when it is forwarded.
var forwardings = []struct{ name, request, answer string }{
	{"stream", "", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"},
	{"websocket", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
}

// beside serves clients whose requests go to another node.
func beside(tb testing.TB, second net.Addr) *httptest.Server {
	transport := Plain()
	f := New(Config{StuckFor: 10 * time.Second, Transport: transport, Nodes: func(context.Context) ([]broker.Node, error) {
		return []broker.Node{{ID: "node-002", URL: "http://" + second.String()}}, nil
	}})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.Serve(w, r, "node-002") }))
	tb.Cleanup(func() {
		f.Drain(context.Background(), over(0))
		_ = f.Wait(context.Background())
		transport.CloseIdleConnections()
		front.Close()
	})
	return front
}

// enter sends the request of a client, and returns when it is answered.
func enter(tb testing.TB, front *httptest.Server, header string) net.Conn {
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /socket/sse HTTP/1.1\r\nHost: app.example\r\n"+header+"\r\n")
	if !readHead(conn) {
		tb.Fatal("not answered")
	}
	return conn
}

// BenchmarkForwarded reports what a stream and a WebSocket that are quiet cost the node that
// forwards them, in bytes of memory that is in use.
func BenchmarkForwarded(b *testing.B) {
	const clients = 1000
	for _, c := range forwardings {
		b.Run(c.name, func(b *testing.B) {
			front := beside(b, newBare(b, c.answer).Addr())
			for range b.N {
				conns := make([]net.Conn, clients)
				before := inUse()
				for i := range conns {
					conns[i] = enter(b, front, c.request)
				}
				b.ReportMetric(float64(inUse()-before)/clients, "B/client")
				for _, conn := range conns {
					_ = conn.Close()
				}
			}
		})
	}
}

func inUse() int {
	runtime.GC()
	runtime.GC() // what the pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

// BenchmarkForwardedBytes is what is written by the other node at once, as a page of the
// history, on its way to a client.
func BenchmarkForwardedBytes(b *testing.B) {
	for _, c := range forwardings {
		b.Run(c.name, func(b *testing.B) {
			second := newBare(b, c.answer)
			conn := enter(b, beside(b, second.Addr()), c.request)
			defer conn.Close()
			second.mu.Lock()
			out := second.conns[0]
			second.mu.Unlock()
			const size = 256 << 10
			page := bytes.Repeat([]byte("x"), size)
			if c.name == "stream" {
				page = append(append([]byte("40000\r\n"), page...), "\r\n"...)
			}
			b.SetBytes(size)
			b.ResetTimer()
			go func() { // ends with the last page, or the connection
				for range b.N {
					_, _ = out.Write(page)
				}
			}()
			if _, err := io.CopyN(io.Discard, conn, int64(b.N)*size); err != nil {
				b.Fatal(err)
			}
		})
	}
}
