//go:build linux

package clientsocket_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/flush"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// The clients of these benchmarks are real connections, which read all they get.
// They are in a process of their own, this test binary started again, so that
// what they cost is not counted as the server's.
const (
	benchAddress = "CHIME_BENCH_ADDRESS"
	benchClients = "CHIME_BENCH_CLIENTS"
	benchKind    = "CHIME_BENCH_KIND"
)

func init() {
	if os.Getenv(benchAddress) != "" {
		readForEver() // does not return
	}
}

// readForEver connects, and then tells for each number on its standard input
// when that many bytes, or messages if they have no WebSockets, have come in all.
func readForEver() {
	clients, err := strconv.Atoi(os.Getenv(benchClients))
	if err != nil {
		panic(err)
	}
	var got atomic.Int64
	came := make(chan struct{}, 1)
	count := func(n int) {
		got.Add(int64(n))
		select {
		case came <- struct{}{}:
		default:
		}
	}
	for i := range clients {
		if kind := os.Getenv(benchKind); kind != webSockets {
			conn := benchConn(i)
			h := &httpReader{conn, bufio.NewReader(conn), count}
			read := map[string]func(func()){"stream": h.stream, "poll": h.poll, "longpoll": h.longPoll}[kind]
			opened := make(chan struct{})
			go read(func() { close(opened) })
			<-opened
			continue
		}
		conn := benchDial(i)
		go func() {
			buf := make([]byte, 4<<10)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				count(n)
			}
		}()
	}
	fmt.Println("connected")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		want, err := strconv.ParseInt(in.Text(), 10, 64)
		if err != nil {
			panic(err)
		}
		for got.Load() < want {
			<-came
		}
		fmt.Println("read")
	}
	os.Exit(0)
}

// benchConn is the connection of the ith client. It comes from one of several loopback
// addresses, so that the ports of one are no limit.
func benchConn(i int) net.Conn {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%16))}}
	conn, err := dialer.Dial("tcp4", os.Getenv(benchAddress))
	if err != nil {
		panic(err)
	}
	return conn
}

// benchDial opens the ith WebSocket.
func benchDial(i int) net.Conn {
	conn := benchConn(i)
	const request = "GET /websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		panic(err)
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil) //nolint:bodyclose // 101 has none
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		panic(fmt.Sprint("upgrade: ", res, err))
	}
	return conn
}

// crowd is a server with its clients.
type crowd struct {
	b       *testing.B
	server  *server.Server
	clients []*clientsocket.ClientSocket
	in      io.Writer
	out     *bufio.Reader
	sent    int64 // to all, in bytes; in messages to those without WebSockets
}

// listening is a Server that hands over what its clients send.
func listening(b *testing.B, receive func(wire.Frame)) (s *server.Server, address string, entered <-chan *clientsocket.ClientSocket) {
	b.Helper()
	in := make(chan *clientsocket.ClientSocket, 10_000)
	s, err := server.New(server.Config{
		Connect: func(*http.Request) (transport.Identity, error) { return transport.Identity{}, nil },
		Accept: func(cs transport.ClientSocket) transport.Receiver {
			in <- cs.(*clientsocket.ClientSocket)
			return hearing(receive)
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/websocket", s.ServeWebSocket)
	mux.HandleFunc("/sse", s.ServeStream)
	mux.HandleFunc("/poll", s.ServePoll)
	mux.HandleFunc("/longpoll", s.ServeLongPoll)
	web := &http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() { served <- web.Serve(l) }()
	b.Cleanup(func() {
		if err := s.Shutdown(b.Context()); err != nil && b.Context().Err() == nil {
			b.Error(err)
		}
		_ = web.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			b.Error(err)
		}
	})
	return s, l.Addr().String(), in
}

type hearing func(wire.Frame)

func (h hearing) Receive(f wire.Frame)               { h(f) }
func (hearing) Finish(time.Duration) <-chan struct{} { return nil }
func (hearing) Closed(transport.Reason)              {}

// webSockets is the kind of clients that have them.
const webSockets = "websocket"

func gather(b *testing.B, kind string, clients int) *crowd {
	b.Helper()
	s, address, entered := listening(b, func(wire.Frame) {})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchAddress+"="+address, benchKind+"="+kind, fmt.Sprint(benchClients, "=", clients))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	c := &crowd{b: b, server: s, in: in, out: bufio.NewReader(out)}
	c.wantLine("connected")
	for range clients {
		c.clients = append(c.clients, <-entered)
	}
	return c
}

func (c *crowd) wantLine(want string) {
	c.b.Helper()
	if line, err := c.out.ReadString('\n'); strings.TrimSpace(line) != want {
		c.b.Fatalf("clients: got %q and error %v, want %q", line, err, want)
	}
}

// settle waits until the clients have read everything.
func (c *crowd) settle() {
	c.b.Helper()
	fmt.Fprintln(c.in, c.sent)
	c.wantLine("read")
}

// benchMessage has a payload of 128 bytes, as in the speed budget. The message
// is made for one broadcast: its bytes are too.
func benchMessage() *wire.Message {
	return wire.NewPush("chat_room:lobby", "message_new", benchPayload, 0)
}

var benchPayload = []byte(`{"name":"Ada","id":"c0ffee01","message":"` + strings.Repeat("hello all ", 9)[:85] + `"}`)

var benchBytes = int64(len(benchMessage().AppendWebSocket(nil, false, "")))

// spent returns the processor time of a thread or a process until now.
func spent(b *testing.B, whose int) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(whose, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

const thread = 1 // RUSAGE_THREAD

// BenchmarkSend is what a publisher pays for a subscriber: to enqueue a message
// while the flushers write to the sockets and the clients read. An op is one
// subscriber. Ns/op is by the clock, so that it has in it whatever else ran on
// these processors; cpu-ns/subscriber is the publisher's own time. Allocations
// are those of the publisher, the flushers and a new message per broadcast.
func BenchmarkSend(b *testing.B) {
	for _, clients := range []int{1, 1000, 10_000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			crowd := gather(b, webSockets, clients)
			// What is sent before all wait for the clients must fit into a queue.
			rounds := max(16, min(1000, 200_000/clients))
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var own time.Duration
			b.ReportAllocs()
			b.ResetTimer()
			for sent := 0; sent < b.N; {
				begun := spent(b, thread)
				for round := 0; round < rounds && sent < b.N; round++ {
					m := benchMessage()
					for _, c := range crowd.clients[:min(clients, b.N-sent)] {
						if err := c.Send(m, ""); err != nil {
							b.Fatal(err)
						}
						sent++
					}
				}
				own += spent(b, thread) - begun
				b.StopTimer()
				crowd.sent = int64(sent) * benchBytes
				crowd.settle()
				b.StartTimer()
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/subscriber")
			b.ReportMetric(float64(own.Nanoseconds())/float64(b.N), "cpu-ns/subscriber")
		})
	}
}

// BenchmarkFlush is what it costs to write what clients have queued, on one
// goroutine, to real sockets. An op is one message for one client; cpu-ns is
// as in BenchmarkSend, and the kernel's share is in it.
func BenchmarkFlush(b *testing.B) {
	for _, queued := range []int{1, 16} {
		b.Run(fmt.Sprintf("messages=%d", queued), func(b *testing.B) {
			const clients = 1000
			crowd := gather(b, webSockets, clients)
			for _, c := range crowd.clients {
				c.HoldBack() // it is flushed below
			}
			f := &flush.Flusher{}
			f.Writer.Init()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var own time.Duration
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				b.StopTimer()
				batch := crowd.clients[:min(clients, (b.N-done+queued-1)/queued)]
				for range queued {
					m := benchMessage()
					for _, c := range batch {
						if err := c.Send(m, ""); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.StartTimer()
				begun, now := spent(b, thread), mono.Now()
				for _, c := range batch {
					c.FlushNow(f, now)
				}
				own += spent(b, thread) - begun
				b.StopTimer()
				for _, c := range batch {
					if !c.Written() {
						b.Error("a socket was full: this is not what was to be measured")
					}
					c.HoldBack()
				}
				done += len(batch) * queued
				crowd.sent += int64(len(batch)*queued) * benchBytes
				crowd.settle()
				b.StartTimer()
			}
			b.StopTimer()
			b.ReportMetric(float64(own.Nanoseconds())/float64(b.N), "cpu-ns/delivery")
		})
	}
}

// BenchmarkDeliver is all of it, from Send until the clients have read, as fast
// as it goes. An op is one message for one client; cpu-ns/delivery is what the
// server's process took, and ns/op has the clients' work in it. For clients
// that may resume, what is written stays until it is acknowledged: after every
// 64 frames, as chime.js does it.
func BenchmarkDeliver(b *testing.B) {
	for _, clients := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { deliver(b, clients, false) })
		b.Run(fmt.Sprintf("resumable/clients=%d", clients), func(b *testing.B) { deliver(b, clients, true) })
	}
}

func deliver(b *testing.B, clients int, resumable bool) {
	b.Helper()
	crowd := gather(b, webSockets, clients)
	for _, c := range crowd.clients {
		c.Keep(resumable)
	}
	b.ReportAllocs()
	b.ResetTimer()
	begun := spent(b, syscall.RUSAGE_SELF)
	const rounds = 64
	for sent := 0; sent < b.N; {
		for round := 0; round < rounds && sent < b.N; round++ {
			m := benchMessage()
			for _, c := range crowd.clients[:min(clients, b.N-sent)] {
				if err := c.Send(m, ""); err != nil {
					b.Fatal(err)
				}
				sent++
			}
		}
		crowd.sent = int64(sent) * benchBytes
		crowd.settle()
		if resumable {
			for _, c := range crowd.clients {
				c.AcknowledgeAll()
			}
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((spent(b, syscall.RUSAGE_SELF)-begun).Nanoseconds())/float64(b.N), "cpu-ns/delivery")
}

// BenchmarkReadFrame is what it takes to read a frame of a WebSocket, to decode
// it and to hand it on. An op is one frame; the client writes many at a time,
// or waits for each to have arrived.
func BenchmarkReadFrame(b *testing.B) {
	text := `["1","17","chat_room:lobby","message_new",` + string(benchPayload) + `]`
	frame := append([]byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 1, 2, 3, 4}, text...)
	for i := range text {
		frame[8+i] ^= frame[4+i&3]
	}
	for _, at := range []int{1, 64} {
		b.Run(fmt.Sprintf("frames=%d", at), func(b *testing.B) {
			n, last := 0, atomic.Int64{}
			arrived := make(chan struct{}, 1)
			_, address, entered := listening(b, func(f wire.Frame) {
				if len(f.Payload) != len(benchPayload) {
					b.Errorf("got a payload of %d bytes, want %d", len(f.Payload), len(benchPayload))
				}
				if n++; int64(n) == last.Load() {
					arrived <- struct{}{}
				}
			})
			b.Setenv(benchAddress, address)
			conn := benchDial(0)
			defer conn.Close()
			<-entered
			var batch []byte
			for range at {
				batch = append(batch, frame...)
			}
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				frames := min(at, b.N-done)
				done += frames
				last.Store(int64(done))
				if _, err := conn.Write(batch[:frames*len(frame)]); err != nil {
					b.Fatal(err)
				}
				<-arrived
			}
		})
	}
}
