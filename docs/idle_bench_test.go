//go:build linux

package docs_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// idleServer is set in the process that BenchmarkIdle measures: this test
// binary, started again, so that only the server's side of the connections is
// in its memory.
const idleServer = "CHIME_IDLE_SERVER"

func init() {
	if os.Getenv(idleServer) != "" {
		serveIdle() // does not return
	}
}

// serveIdle serves until its standard input ends.
func serveIdle() {
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory()))
	live.Channel("room:{id}", listener{}, channel.History{Keep: 100, Replay: 0})
	r := chi.NewRouter()
	r.Mount("/socket", live)
	var active atomic.Int64 // connections with a request: this one, and polls that are parked
	r.Get("/http", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Parked") != "" {
			<-r.Context().Done()
		}
		fmt.Fprintln(w, "<>")
	})
	r.Get("/rss", func(w http.ResponseWriter, r *http.Request) {
		for fmt.Sprint(active.Load()-1) != r.URL.Query().Get("parked") {
			if time.Sleep(time.Millisecond); r.Context().Err() != nil {
				return
			}
		}
		runtime.GC()
		runtime.GC() // what the pools held
		debug.FreeOSMemory()
		fmt.Fprint(w, residentBytes())
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	web := &http.Server{Handler: r, ConnState: func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateActive:
			active.Add(1)
		case http.StateIdle, http.StateHijacked:
			active.Add(-1)
		case http.StateNew, http.StateClosed:
		}
	}}
	fmt.Println(web.Serve(l))
	os.Exit(1)
}

func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// BenchmarkIdle reports what a client that has joined one topic and does
// nothing costs the server, in bytes of resident memory after a collection.
// The kernel's socket buffers are not in it. Clients of the chime dialect have
// acknowledged what they got, as chime.js does within 10 s. One that polls keeps its
// connection between two polls, and acknowledges with the next.
func BenchmarkIdle(b *testing.B) {
	const (
		clients = 5000
		polling = 2000 // as many as come within the time that one may be silent
	)
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	const join = `["1","1","room:1","phx_join",{}]`
	for _, bench := range []struct {
		name string
		idler
	}{
		{"websocket/phoenix", idler{request: "GET /socket/websocket?vsn=2.0.0", header: upgrade, frames: []string{join}}},
		{"websocket/chime", idler{request: "GET /socket/websocket", header: upgrade + "Sec-WebSocket-Protocol: chime.v1\r\n", hello: true,
			frames: []string{join, `[null,null,"chime","ack",{"received":1}]`, `[null,null,"chime","probe",{"nonce":"n"}]`}}},
		{"stream/bare", idler{request: "GET /socket/sse?join=room:1"}},
		{"stream/chime", idler{request: "GET /socket/sse", header: "Chime-Received: 0\r\n", hello: true,
			posts: []string{`{"first":1,"received":0,"frames":[` + join + `]}`, `{"first":2,"received":1,"frames":[]}`}}},
		{"http/parked", idler{poll: (*pollClient).plain, parked: true}}, // what net/http takes of that itself
		{"http/between", idler{poll: (*pollClient).plain}},
		{"poll/chime/parked", idler{poll: (*pollClient).joinChime, parked: true}},
		{"poll/chime/between", idler{poll: (*pollClient).joinChime}},
		{"longpoll/phoenix/parked", idler{poll: (*pollClient).joinPhoenix, parked: true}},
		{"longpoll/phoenix/between", idler{poll: (*pollClient).joinPhoenix}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			n := clients
			if bench.poll != nil {
				n = polling
			}
			for range b.N {
				b.ReportMetric(idleBytes(b, n, bench.idler), "B/client")
			}
		})
	}
}

// idler is how a client comes, joins, and has nothing more to say.
type idler struct {
	request, header string
	hello           bool
	frames          []string          // on a WebSocket; the last is answered
	posts           []string          // with the secret of the hello
	poll            func(*pollClient) // to join
	parked          bool              // its last poll
}

func idleBytes(b *testing.B, clients int, who idler) float64 {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), idleServer+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer stdin.Close()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	addr := strings.TrimSpace(line)
	before, parked := askRSS(b, addr, 0), 0
	polls := make([]*pollClient, 0, clients)
	for i := range clients {
		conn := dialIdle(b, addr, i)
		defer conn.Close()
		if who.poll == nil {
			who.open(b, addr, conn)
			continue
		}
		p := &pollClient{b: b, addr: addr, conn: conn, answers: bufio.NewReaderSize(conn, 16)}
		who.poll(p)
		polls = append(polls, p)
	}
	if who.parked {
		for parked = range polls {
			polls[parked].ask()
		}
		parked++
	}
	return (askRSS(b, addr, parked) - before) / float64(clients)
}

// askRSS has the server measure when so many polls are parked.
func askRSS(b *testing.B, addr string, parked int) float64 {
	patient := http.Client{Timeout: time.Minute}
	resp, err := patient.Get(fmt.Sprintf("http://%s/rss?parked=%d", addr, parked))
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// dialIdle connects from one of several loopback addresses, so that the ports of one are
// no limit.
func dialIdle(b *testing.B, addr string, i int) net.Conn {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%16))}}
	conn, err := dialer.Dial("tcp4", addr)
	if err != nil {
		b.Fatal(err)
	}
	return conn
}

// open joins, and reads until that is answered.
func (who idler) open(b *testing.B, addr string, conn net.Conn) {
	fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\n%s\r\n", who.request, addr, who.header)
	var seen strings.Builder
	buf := make([]byte, 4096)
	until := func(what string) {
		for !strings.Contains(seen.String(), what) {
			n, err := conn.Read(buf)
			if err != nil {
				b.Fatalf("after %q: %v", seen.String(), err)
			}
			seen.Write(buf[:n])
		}
	}
	secret := ""
	if who.hello {
		until(`"sent":0}]`)
		_, rest, _ := strings.Cut(seen.String(), `"secret":"`)
		secret, _, _ = strings.Cut(rest, `"`)
	}
	for _, f := range who.frames {
		frame := append([]byte{0x81, 0x80 | byte(len(f)), 0, 0, 0, 0}, f...) // masked with zeros
		if _, err := conn.Write(frame); err != nil {
			b.Fatal(err)
		}
		if strings.Contains(f, "phx_join") {
			until(`"status":"ok"`)
		}
	}
	for _, body := range who.posts {
		postIdle(b, "http://"+addr+"/socket/sse", "Chime-Secret", secret, body)
		until(`"status":"ok"`)
	}
	if len(who.frames) == 0 || strings.Contains(who.frames[len(who.frames)-1], "phx_join") {
		until(`"status":"ok"`)
	} else {
		until("probe_ok")
	}
}

func postIdle(b *testing.B, url, header, secret, body string) {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set(header, secret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b.Fatalf("POST: %s", res.Status)
	}
}
