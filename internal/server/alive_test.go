package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// acknowledge is the sign of life of a client of the chime dialect.
func acknowledge(t *testing.T, l line, received int) {
	t.Helper()
	var err error
	status, answer := http.StatusOK, ""
	switch p := l.(type) {
	case socketPeer:
		err = p.write(fin|opText, fmt.Sprintf(`[null,null,"chime","ack",{"received":%d}]`, received))
	case *stream:
		status, answer, err = p.post("/sse", fmt.Sprintf(`{"first":1,"received":%d,"frames":[]}`, received), "Chime-Secret: "+p.secret)
	}
	if err != nil || status != http.StatusOK {
		t.Fatalf("acknowledge %d: got %d %s and error %v", received, status, answer, err)
	}
}

// onEachChime is onEach on the carriers of the chime dialect.
func onEachChime(t *testing.T, cfg server.Config, run func(*testing.T, *bubble, line, *client)) {
	t.Helper()
	onEach(t, cfg, func(t *testing.T, b *bubble, l line, c *client) {
		if speaksChime(l) {
			run(t, b, l, c)
		}
	})
}

func speaksChime(l line) bool {
	if ws, ok := l.(socketPeer); ok {
		return ws.head.Header.Get("Sec-Websocket-Protocol") != ""
	}
	return l.(*stream).secret != ""
}

func TestAHeartbeatComesAfter15SecondsWithoutOutput(t *testing.T) {
	onEach(t, server.Config{}, func(t *testing.T, b *bubble, l line, c *client) {
		start := time.Now()
		heard := func(received int) {
			if speaksChime(l) {
				acknowledge(t, l, received)
			}
		}
		if isSocket(l) && !speaksChime(l) {
			wantAt(t, l, start, 60*time.Second, io.EOF.Error())
			return
		}
		first := 15 * time.Second
		if !isSocket(l) && !speaksChime(l) { // after its second bytes
			first += 75 * time.Millisecond
		}
		wantAt(t, l, start, first, heartbeat(0))
		heard(0)
		time.Sleep(25*time.Second - first)
		say(t, c)
		wantAt(t, l, start, 25*time.Second, said)
		heard(1)
		wantAt(t, l, start, 40*time.Second, heartbeat(1))
		heard(1)
		time.Sleep(14 * time.Second)
		for range 3 {
			say(t, c)
			wantAt(t, l, start, 54*time.Second, said)
		}
		heard(4)
		wantAt(t, l, start, 69*time.Second, heartbeat(4))
		heard(4)
		wantAt(t, l, start, 84*time.Second, heartbeat(4))
	})
}

// A page in the background has no clock that it could acknowledge by.
func TestAClientThatOnlyAnswersHeartbeatsStaysInABusyRoom(t *testing.T) {
	onEachChime(t, server.Config{}, func(t *testing.T, b *bubble, l line, c *client) {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(4 * time.Second):
					say(t, c)
				}
			}
		}()
		received, beats := 0, 0
		for start := time.Now(); time.Since(start) < 5*time.Minute; {
			text, err := l.text()
			switch {
			case err != nil:
				t.Fatalf("after %v: %v", time.Since(start), err)
			case text == said:
				received++
			case text != heartbeat(received):
				t.Fatalf("got %s, want a heartbeat", text)
			default:
				if beats++; time.Since(start) != time.Duration(beats)*15*time.Second {
					t.Fatalf("heartbeat %d after %v, want one every 15s", beats, time.Since(start))
				}
				acknowledge(t, l, received)
			}
		}
		synctest.Wait()
		if len(c.closed) > 0 {
			t.Errorf("got Closed(%s)", (<-c.closed).why)
		}
	})
}

// Whatever is read of a WebSocket is a sign of life.
func TestASilentWebSocketIsAborted(t *testing.T) {
	for _, test := range []struct {
		name    string
		open    func(*site) (*socket, error)
		silence time.Duration
		alive   string // what keeps it
	}{
		{"chime", (*site).chime, 35 * time.Second, `[null,null,"chime","ack",{"received":0}]`},
		{"phoenix", (*site).phoenix, 60 * time.Second, `[null,"7","phoenix","heartbeat",{}]`},
		{"amber", (*site).amber, 35 * time.Second, `{"event":"leave","topic":"room:1"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
				for _, sign := range []struct {
					first byte
					text  string
				}{{fin | opText, test.alive}, {fin | opPing, "still here"}, {fin | opPong, ""}} {
					ws, err := test.open(b.site)
					if err != nil {
						t.Fatal(err)
					}
					go func() { _, _ = io.Copy(io.Discard, ws) }() // it reads, but says nothing
					c := <-b.clients
					start := time.Now()
					for range 20 {
						time.Sleep(test.silence - time.Second)
						if err := ws.write(sign.first, sign.text); err != nil {
							t.Fatalf("after %v: %v", time.Since(start), err)
						}
					}
					synctest.Wait()
					if len(c.closed) > 0 {
						t.Fatalf("got Closed(%s) of a client that was heard of", (<-c.closed).why)
					}
					wantDeparture(t, c, time.Now(), test.silence, transport.Vanished)
					_ = ws.Close()
				}
			})
		})
	}
}

// A proxy that reads on hides that its client has vanished, and hands on the POSTs
// of one whose stream it has lost.
func TestAStreamIsAliveByWhatIsAcknowledged(t *testing.T) {
	const silence = 35 * time.Second
	for _, test := range []struct {
		name string
		do   func(t *testing.T, es *stream, c *client)
		left time.Duration // of its time, after what it does
	}{
		{"nothing", func(*testing.T, *stream, *client) {}, silence},
		{"acknowledged for an hour", func(t *testing.T, es *stream, c *client) {
			for range 120 {
				time.Sleep(silence - 5*time.Second)
				acknowledge(t, es, 1)
			}
		}, silence},
		{"what is read more slowly than it comes", func(t *testing.T, es *stream, c *client) {
			for n := range 20 {
				for range 3 {
					say(t, c)
				}
				time.Sleep(silence - 5*time.Second)
				acknowledge(t, es, n+2)
			}
		}, silence},
		{"POSTs that acknowledge nothing more", func(t *testing.T, es *stream, c *client) {
			say(t, c)
			time.Sleep(10 * time.Second)
			acknowledge(t, es, 2)
			say(t, c)
			for range 3 {
				time.Sleep(10 * time.Second)
				acknowledge(t, es, 2)
			}
		}, silence - 30*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			onEachChime(t, server.Config{Grace: 20 * time.Second}, func(t *testing.T, b *bubble, l line, c *client) {
				es, ok := l.(*stream)
				if !ok {
					return
				}
				say(t, c) // so that there is something to come back for
				for text := ""; text != said; {
					text, _ = es.text()
				}
				acknowledge(t, es, 1)
				read := make(chan struct{})
				go func() {
					defer close(read)
					_, _ = io.Copy(io.Discard, es.r)
				}()
				test.do(t, es, c)
				synctest.Wait()
				if len(c.closed) > 0 {
					t.Fatalf("got Closed(%s) of a client that was heard of", (<-c.closed).why)
				}
				wantDeparture(t, c, time.Now(), test.left+20*time.Second, transport.Vanished)
				<-read // the stream has ended too
			})
		})
	}
}

// A stream that is promoted late has its whole time from then on.
func TestAPromotionIsASignOfLife(t *testing.T) {
	const grace = 20 * time.Second
	inBubble(t, network{}, server.Config{Grace: grace}, nil, func(t *testing.T, b *bubble) {
		es, err := b.half()
		if err != nil {
			t.Fatal(err)
		}
		defer es.Vanish()
		c := <-b.clients
		say(t, c)
		wantAt(t, es, time.Now(), 0, said)
		acknowledge(t, es, 1)
		next, err := b.stream("/sse", "Chime-Received: 1", "Chime-Secret: "+es.secret)
		if err != nil {
			t.Fatal(err)
		}
		defer next.Vanish()
		text, err := next.text()
		if next.secret = secretIn(text); err != nil || next.secret == "" {
			t.Fatalf("got %s and error %v, want hello", text, err)
		}
		for _, s := range []*stream{es, next} {
			go func() { _, _ = io.Copy(io.Discard, s.r) }()
		}
		time.Sleep(9 * time.Second)
		acknowledge(t, next, 1)
		wantDeparture(t, c, time.Now(), 35*time.Second+grace, transport.Vanished)
	})
}

// Its identity is unknown for a while, as when the database is down.
func TestAPostIsASignOfLifeThoughNobodyCanSayWhoseItIs(t *testing.T) {
	var down, refuses atomic.Bool
	cfg := server.Config{Connect: func(*http.Request) (transport.Identity, error) {
		switch {
		case refuses.Load():
			return transport.Identity{}, &transport.RefusedError{Status: http.StatusForbidden}
		case down.Load():
			return transport.Identity{}, errors.New("down")
		}
		return transport.Identity{}, nil
	}}
	inBubble(t, network{}, cfg, nil, func(t *testing.T, b *bubble) {
		es, err := b.half()
		if err != nil {
			t.Fatal(err)
		}
		defer es.Vanish()
		go func() { _, _ = io.Copy(io.Discard, es.r) }()
		c := <-b.clients
		post := func(want int) {
			t.Helper()
			if status, answer, err := es.post("/sse", `{"first":1,"received":0,"frames":[]}`, "Chime-Secret: "+es.secret); err != nil || status != want {
				t.Fatalf("got %d %s and error %v, want %d", status, answer, err, want)
			}
		}
		down.Store(true)
		for range 10 {
			time.Sleep(30 * time.Second)
			post(http.StatusServiceUnavailable)
		}
		start := time.Now()
		time.Sleep(30 * time.Second)
		refuses.Store(true)
		post(http.StatusForbidden) // which is a verdict
		wantDeparture(t, c, start, 35*time.Second, transport.Vanished)
	})
}

// A stream without chime headers can't answer, so it has an age. Its client comes
// back by itself, and not with all others.
func TestAStreamThatCannotAnswerHasAnAge(t *testing.T) {
	for _, n := range []network{{name: "hijacked"}, {name: "without-hijack", http1WithoutHijack: true}, {name: "http2", http2: true}} {
		t.Run(n.name, func(t *testing.T) {
			inBubble(t, n, server.Config{}, nil, func(t *testing.T, b *bubble) {
				start := time.Now()
				const streams = 40
				type end struct {
					age  time.Duration
					last []string
				}
				ends := make(chan end, streams)
				for range streams {
					es, err := b.stream("/sse?join=room:1")
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(es.Vanish)
					go func() {
						var last []string
						for {
							lines, err := es.event()
							if err != nil {
								ends <- end{time.Since(start), last}
								return
							}
							last = lines
						}
					}()
				}
				ages, retries := map[time.Duration]bool{}, map[string]bool{}
				for range streams {
					e := inTime(t, ends, "end of a stream")
					if e.age < 10*time.Minute || e.age > 15*time.Minute {
						t.Errorf("a stream ended after %v, want 10m to 15m", e.age)
					}
					if want := `data: [null,null,"chime","closed",{"code":1012,"reason":"too old"}]`; len(e.last) != 2 || e.last[1] != want {
						t.Fatalf("got %q, want a retry and %s", e.last, want)
					}
					ages[e.age], retries[e.last[0]] = true, true
					if d := inTime(t, (<-b.clients).closed, "call of Closed"); d.why != transport.Vanished {
						t.Errorf("got Closed(%s), want Closed(%s)", d.why, transport.Vanished)
					}
				}
				var ms int
				for retry := range retries {
					if _, err := fmt.Sscanf(retry, "retry: %d", &ms); err != nil || ms < 2000 || ms >= 6000 {
						t.Errorf("got %q, want retry: 2000 to 6000", retry)
					}
				}
				if len(ages) < streams/2 || len(retries) < streams/2 {
					t.Errorf("%d streams ended at %d moments, and came back after %d times", streams, len(ages), len(retries))
				}
			})
		})
	}
}

// middle is what stands between a client and the server. Once it is told to
// swallow, nothing gets from one to the other, and neither hears of it.
type middle struct {
	reads   bool // on, though it hands on nothing
	swallow chan struct{}
	over    chan struct{}
}

func (m *middle) before(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		far, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		client, near := net.Pipe()
		go m.carry(far, near, false)
		go m.carry(near, far, m.reads)
		return client, nil
	}
}

func (m *middle) carry(to, from net.Conn, reads bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	var buf [4096]byte
	for {
		n, err := from.Read(buf[:])
		select {
		case <-m.swallow:
			if !reads || err != nil {
				<-m.over
				return
			}
		default:
			if err == nil {
				_, err = to.Write(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}
}

// All times are after the client's last sign of life.
func TestAPeerThatVanishesBehindAProxyIsMissed(t *testing.T) {
	const grace = 15 * time.Second
	stream := func(s *site) (line, error) { return s.half() }
	bare := func(s *site) (line, error) { return s.stream("/sse?join=room:1") }
	for _, test := range []struct {
		name string
		network
		open        func(*site) (line, error)
		swallowed   time.Duration // at the latest, behind one that reads on
		stuck       time.Duration // behind one that reads no more
		onlyOneTime bool
	}{
		{"websocket-chime", network{}, func(s *site) (line, error) { return opened(s.chime()) }, 35*time.Second + grace, 35*time.Second + grace, true},
		{"websocket-phoenix", network{}, func(s *site) (line, error) { return opened(s.phoenix()) }, 60 * time.Second, 40 * time.Second, true},
		{"websocket-amber", network{}, func(s *site) (line, error) { return opened(s.amber()) }, 35 * time.Second, 35 * time.Second, true},
		{"sse", network{}, stream, 35*time.Second + grace, 35*time.Second + grace, true},
		{"sse-tls", network{tls: true}, stream, 35*time.Second + grace, 35*time.Second + grace, true},
		{"sse-http2", network{http2: true}, stream, 35*time.Second + grace, 35*time.Second + grace, true},
		{"sse-without-hijack", network{http1WithoutHijack: true}, stream, 35*time.Second + grace, 35*time.Second + grace, true},
		{"sse-bare", network{}, bare, 15 * time.Minute, 40 * time.Second, false},
		{"sse-bare-without-hijack", network{http1WithoutHijack: true}, bare, 15 * time.Minute, 40 * time.Second, false},
		{"sse-bare-http2", network{http2: true}, bare, 15 * time.Minute, 15 * time.Minute, false}, // net/http waits too
		{"sse-bare-http2-pings", network{http2: true, pings: true}, bare, 30 * time.Second, 30 * time.Second, false},
	} {
		for _, reads := range []bool{true, false} {
			name, most := test.name+"/reads-on", test.swallowed
			if !reads {
				name, most = test.name+"/stops-reading", test.stuck
			}
			t.Run(name, func(t *testing.T) {
				inBubble(t, test.network, server.Config{Grace: grace}, nil, func(t *testing.T, b *bubble) {
					m := &middle{reads: reads, swallow: make(chan struct{}), over: make(chan struct{})}
					t.Cleanup(func() { close(m.over) })
					b.dial = m.before(b.dial)
					l, err := test.open(b.site)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(l.Vanish)
					c := <-b.clients
					if speaksChime(l) { // with something to come back for
						say(t, c)
						for text := ""; text != said; {
							if text, err = l.text(); err != nil {
								t.Fatal(err)
							}
						}
						acknowledge(t, l, 1)
					}
					synctest.Wait()
					start := time.Now()
					close(m.swallow)
					d := inTime(t, c.closed, "call of Closed")
					if after := d.at.Sub(start); after > most || reads && test.onlyOneTime && after != most {
						t.Errorf("Closed(%s) after %v, want after %v", d.why, after, most)
					}
				})
			})
		}
	}
}

// BenchmarkAcknowledge is the POST that answers a heartbeat, on a connection that is
// kept, without what WithConnect does: both halves of it, on one machine.
func BenchmarkAcknowledge(b *testing.B) {
	srv, err := server.New(server.Config{
		Connect: func(*http.Request) (transport.Identity, error) { return transport.Identity{}, nil },
		Accept:  func(transport.ClientSocket) transport.Receiver { return &client{closed: make(chan departure, 1)} },
	})
	if err != nil {
		b.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sse", srv.ServeStream)
	mux.HandleFunc("POST /sse", srv.ServePost)
	es, err := serve(b, network{}, mux).half()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		es.Vanish()
		_ = srv.Shutdown(context.Background())
	})
	b.ReportAllocs()
	for b.Loop() {
		status, answer, err := es.post("/sse", `{"first":1,"received":0,"frames":[]}`, "Chime-Secret: "+es.secret)
		if err != nil || status != http.StatusOK {
			b.Fatalf("got %d %s and error %v, want 200", status, answer, err)
		}
	}
}
