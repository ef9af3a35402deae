package chime_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
)

// Streams on HTTP/2 stay in their handlers: there is no connection to take.

func overHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// httpClient returns a client for HTTP/2 without TLS.
func (s *rawSite) httpClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{
		Protocols:   overHTTP2(),
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
		DialContext: func(context.Context, string, string) (net.Conn, error) { return s.dial() },
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// ask sends a request with a client of net/http.
func (s *rawSite) ask(t *testing.T, ctx context.Context, c *http.Client, method, target, body string, header ...string) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.host+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if c.Transport.(*http.Transport).Protocols == nil {
		req.URL.Scheme = "https"
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return answerOf(res)
}

// read2 opens a stream with a client of net/http.
func (s *rawSite) read2(t *testing.T, ctx context.Context, c *http.Client, target string, header ...string) *rawStream {
	t.Helper()
	res := s.ask(t, ctx, c, http.MethodGet, target, "", header...)
	if res.ProtoMajor != 2 {
		t.Fatalf("got HTTP/%d, want HTTP/2", res.ProtoMajor)
	}
	return (&rawStream{t: t, head: res, r: bufio.NewReader(res.Body)}).opened()
}

func TestStreamOnHTTP2LivesThroughSilenceAndTimeouts(t *testing.T) {
	for name, server := range map[string]*http.Server{
		"without timeouts": {Protocols: overHTTP2()},
		"with timeouts":    {Protocols: overHTTP2(), ReadTimeout: time.Second, WriteTimeout: time.Second, IdleTimeout: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, server, nil, func(t *testing.T, s *rawSite) {
				c := s.httpClient(t)
				es := s.read2(t, t.Context(), c, "/socket/sse", "Chime-Received: 0")
				secret := secretIn(t, es.next().data)
				wantApplied(t, s.ask(t, t.Context(), c, http.MethodPost, "/socket/sse", `{"first":1,"frames":[`+joinHall+`]}`, "Chime-Secret: "+secret), 1)
				es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
				for range 3 {
					time.Sleep(14 * time.Second)
					if err := s.live.Broadcast(t.Context(), "hall:1", "tick", nil); err != nil {
						t.Fatal(err)
					}
					es.want(`[null,null,"hall:1","tick",{}]`)
				}
				for range 4 { // and then a minute with nothing but heartbeats
					es.want(`[null,null,"chime","heartbeat",{"sent":4,"received":1}]`)
				}
				wantAnswer(t, s.ask(t, t.Context(), c, http.MethodPost, "/socket/bye", secret), http.StatusNoContent, "")
				es.wantClosed(1000, "bye")
				s.hall.wantLeft(t, departure{"hall:1", "attacker", "closed"})
			})
		})
	}
}

func TestStreamOnHTTP2EndsWithItsClient(t *testing.T) {
	inBubble(t, &http.Server{Protocols: overHTTP2()}, nil, func(t *testing.T, s *rawSite) {
		c := s.httpClient(t)
		ctx, cancel := context.WithCancel(t.Context())
		es := s.read2(t, ctx, c, "/socket/sse?join=hall:1&as=reader")
		es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		began := time.Now()
		cancel()
		s.hall.wantLeft(t, departure{"hall:1", "reader", "gone"})
		if took := time.Since(began); took != 0 {
			t.Errorf("left after %s, want at once", took)
		}
	})
}

// TestReaderOnHTTP2ThatNeverReadsIsEnded: flow control holds its stream back,
// and no other stream of the same connection.
func TestReaderOnHTTP2ThatNeverReadsIsEnded(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{QueueBytes: 64 << 10})
	inBubble(t, &http.Server{Protocols: overHTTP2()}, []chime.Option{limits}, func(t *testing.T, s *rawSite) {
		c := s.httpClient(t)
		witness := s.read2(t, t.Context(), c, "/socket/sse?join=hall:1&as=witness")
		witness.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		victim := s.read2(t, t.Context(), c, "/socket/sse?join=hall:1&as=victim")
		victim.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		began := time.Now()
		const size, most = 10_000, 64<<10 + 64<<10 + 64<<10 // its window, one write, and its queue
		for range most/size + 2 {
			if err := s.live.Broadcast(t.Context(), "hall:1", "say", map[string]string{"a": strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
			if e := witness.next(); len(e.data) < size {
				t.Fatalf("got %s, want the broadcast", clip(e.data))
			}
		}
		s.hall.wantLeft(t, departure{"hall:1", "victim", "slow"})
		if took := time.Since(began); took != 0 {
			t.Errorf("ended after %s, want at once", took)
		}
		s.hall.wantNobodyLeft(t)
	})
}

// TestBurstThatIsTooMuchOnHTTP2EndsTheStreamOnly: the stream may be over, and
// its handler gone, before all is done that ends it.
func TestBurstThatIsTooMuchOnHTTP2EndsTheStreamOnly(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{QueueMessages: 2})
	inBubble(t, &http.Server{Protocols: overHTTP2()}, []chime.Option{limits}, func(t *testing.T, s *rawSite) {
		c := s.httpClient(t)
		for range 100 {
			victim := s.read2(t, t.Context(), c, "/socket/sse?join=hall:1&as=victim")
			victim.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
			for len(s.hall.left) == 0 {
				if err := s.live.Broadcast(t.Context(), "hall:1", "say", nil); err != nil {
					t.Fatal(err)
				}
			}
			s.hall.wantLeft(t, departure{"hall:1", "victim", "slow"})
			var last string
			for {
				e, err := victim.read()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				last = e.data
			}
			if want := `[null,null,"chime","closed",{"code":1013,"reason":"too slow"}]`; last != want {
				t.Errorf("the last event is %s, want %s", clip(last), want)
			}
		}
	})
}

func TestOverTLS(t *testing.T) {
	s, live := newRawRouter(t)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	server := httptest.NewUnstartedServer(app)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		s.shutdown(t)
		server.Close()
	})
	s.host = server.Listener.Addr().String()
	config := server.Client().Transport.(*http.Transport).TLSClientConfig

	// A WebSocket: HTTP/1.1, as browsers ask for it.
	h1 := config.Clone()
	h1.NextProtos = []string{"http/1.1"}
	h1.ServerName = "example.com"
	s.dial = func() (net.Conn, error) { return tls.Dial("tcp", s.host, h1) }
	w := s.witness(t) // and a stream on HTTP/1.1
	ws, _ := s.chime(t)
	ws.join("hall:1", "guest")

	// A stream with POSTs on HTTP/2.
	es := s.read2(t, t.Context(), server.Client(), "/socket/sse", "Chime-Received: 0")
	if got := es.head.Header.Get("Connection"); got != "" {
		t.Errorf("Connection: got %q, which HTTP/2 does not have", got)
	}
	secret := secretIn(t, es.next().data)
	res := s.ask(t, t.Context(), server.Client(), http.MethodPost, "/socket/sse",
		`{"first":1,"frames":[["1","1","hall:1","phx_join",{"as":"attacker"}],["1",null,"hall:1","say",{"n":1}]]}`, "Chime-Secret: "+secret)
	wantApplied(t, res, 2)
	es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	const say = `[null,null,"hall:1","say",{"n":1}]`
	w.hears(say)
	ws.want(say)
	es.want(say)

	// An upgrade over HTTP/2 is none.
	res = s.ask(t, t.Context(), server.Client(), http.MethodGet, phoenixTarget, "")
	wantAnswer(t, res, http.StatusBadRequest, `{"reason":"this is a WebSocket endpoint: upgrade the request, or use the event stream at sse"}`)

	ws.write(maskedFrame(fin|opClose, "\x03\xe8"))
	s.hall.wantLeft(t, departure{"hall:1", "guest", "closed"})
	wantAnswer(t, s.ask(t, t.Context(), server.Client(), http.MethodPost, "/socket/bye", secret), http.StatusNoContent, "")
	es.wantClosed(1000, "bye")
	s.hall.wantLeft(t, departure{"hall:1", "attacker", "closed"})
	w.isWell()
	if _, err := io.Copy(io.Discard, es.r); err != nil {
		t.Errorf("after the end: %v", err)
	}
}
