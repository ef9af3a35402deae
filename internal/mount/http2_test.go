package mount_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// Streams on HTTP/2 stay in their handlers: there is no connection to take.

func overHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// httpClient returns a client for HTTP/2 without TLS.
func httpClient(t *testing.T, s *raw.Site) *http.Client {
	t.Helper()
	tr := &http.Transport{
		Protocols:   overHTTP2(),
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
		DialContext: func(context.Context, string, string) (net.Conn, error) { return s.Dial() },
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// ask sends a request with a client of net/http.
func ask(t *testing.T, s *raw.Site, ctx context.Context, c *http.Client, method, target, body string, header ...string) *raw.Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Host+target, strings.NewReader(body))
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
	return raw.AnswerOf(res)
}

// read2 opens a stream with a client of net/http.
func readHTTP2(t *testing.T, s *raw.Site, ctx context.Context, c *http.Client, target string, header ...string) *raw.Stream {
	t.Helper()
	res := ask(t, s, ctx, c, http.MethodGet, target, "", header...)
	if res.ProtoMajor != 2 {
		t.Fatalf("got HTTP/%d, want HTTP/2", res.ProtoMajor)
	}
	return (&raw.Stream{T: t, Head: res, R: bufio.NewReader(res.Body)}).Opened()
}

func TestStreamOnHTTP2LivesThroughSilenceAndTimeouts(t *testing.T) {
	for name, server := range map[string]*http.Server{
		"without timeouts": {Protocols: overHTTP2()},
		"with timeouts":    {Protocols: overHTTP2(), ReadTimeout: time.Second, WriteTimeout: time.Second, IdleTimeout: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, server, nil, func(t *testing.T, s *raw.Site) {
				c := httpClient(t, s)
				es := readHTTP2(t, s, t.Context(), c, "/socket/sse", "Chime-Received: 0")
				secret := raw.SecretIn(t, es.Next().Data)
				ask(t, s, t.Context(), c, http.MethodPost, "/socket/sse", `{"first":1,"frames":[`+raw.JoinHall+`]}`, "Chime-Secret: "+secret).WantApplied(t, 1)
				es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
				acknowledge := func(received int) {
					ask(t, s, t.Context(), c, http.MethodPost, "/socket/sse", fmt.Sprintf(`{"first":2,"received":%d,"frames":[]}`, received), "Chime-Secret: "+secret).WantApplied(t, 1)
				}
				for n := range 3 {
					time.Sleep(14 * time.Second)
					if err := s.Live.Broadcast(t.Context(), "hall:1", "tick", nil); err != nil {
						t.Fatal(err)
					}
					es.Want(`[null,null,"hall:1","tick",{}]`)
					acknowledge(2 + n)
				}
				for range 4 { // and then a minute with nothing but heartbeats
					es.Want(`[null,null,"chime","heartbeat",{"sent":4,"received":1}]`)
					acknowledge(4)
				}
				ask(t, s, t.Context(), c, http.MethodPost, "/socket/bye", secret).Want(t, http.StatusNoContent, "")
				es.WantClosed(1000, "bye")
				s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
			})
		})
	}
}

func TestStreamOnHTTP2EndsWithItsClient(t *testing.T) {
	raw.InBubble(t, &http.Server{Protocols: overHTTP2()}, nil, func(t *testing.T, s *raw.Site) {
		c := httpClient(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		es := readHTTP2(t, s, ctx, c, "/socket/sse?join=hall:1&as=reader")
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		began := time.Now()
		cancel()
		s.Hall.WantLeft(t, "hall:1", "reader", "vanished")
		if took := time.Since(began); took != 0 {
			t.Errorf("left after %s, want at once", took)
		}
	})
}

// TestReaderOnHTTP2ThatNeverReadsIsEnded: flow control holds its stream back,
// and no other stream of the same connection.
func TestReaderOnHTTP2ThatNeverReadsIsEnded(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{QueueBytes: 64 << 10})
	raw.InBubble(t, &http.Server{Protocols: overHTTP2()}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
		c := httpClient(t, s)
		witness := readHTTP2(t, s, t.Context(), c, "/socket/sse?join=hall:1&as=witness")
		witness.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		victim := readHTTP2(t, s, t.Context(), c, "/socket/sse?join=hall:1&as=victim")
		victim.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		began := time.Now()
		const size, most = 10_000, 64<<10 + 64<<10 + 64<<10 // its window, one write, and its queue
		for range most/size + 2 {
			if err := s.Live.Broadcast(t.Context(), "hall:1", "say", map[string]string{"a": strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
			if e := witness.Next(); len(e.Data) < size {
				t.Fatalf("got %s, want the broadcast", raw.Clip(e.Data))
			}
		}
		s.Hall.WantLeft(t, "hall:1", "victim", "slow")
		// The publisher has waited once, to see whether its write gets done.
		if took := time.Since(began); took > 20*time.Millisecond {
			t.Errorf("ended after %s, want 20ms", took)
		}
		s.Hall.WantNobodyLeft(t)
	})
}

// TestBurstThatIsTooMuchOnHTTP2EndsTheStreamOnly: the stream may be over, and
// its handler gone, before all is done that ends it.
func TestBurstThatIsTooMuchOnHTTP2EndsTheStreamOnly(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{QueueBytes: 100})
	raw.InBubble(t, &http.Server{Protocols: overHTTP2()}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
		c := httpClient(t, s)
		for range 100 {
			victim := readHTTP2(t, s, t.Context(), c, "/socket/sse?join=hall:1&as=victim")
			victim.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
			for len(s.Hall.Left) == 0 {
				if err := s.Live.Broadcast(t.Context(), "hall:1", "say", nil); err != nil {
					t.Fatal(err)
				}
			}
			s.Hall.WantLeft(t, "hall:1", "victim", "slow")
			var last string
			for {
				e, err := victim.Read()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				last = e.Data
			}
			if want := `[null,null,"chime","closed",{"code":1013,"reason":"too slow"}]`; last != want {
				t.Errorf("the last event is %s, want %s", raw.Clip(last), want)
			}
		}
	})
}

func TestOverTLS(t *testing.T) {
	s, live := raw.NewRouter(t)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	server := httptest.NewUnstartedServer(app)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		s.Shutdown(t)
		server.Close()
	})
	s.Host = server.Listener.Addr().String()
	config := server.Client().Transport.(*http.Transport).TLSClientConfig

	// A WebSocket: HTTP/1.1, as browsers ask for it.
	h1 := config.Clone()
	h1.NextProtos = []string{"http/1.1"}
	h1.ServerName = "example.com"
	s.Dial = func() (net.Conn, error) { return tls.Dial("tcp", s.Host, h1) }
	w := s.Witness(t) // and a stream on HTTP/1.1
	ws, _ := s.Chime(t)
	ws.Join("hall:1", "guest")

	// A stream with POSTs on HTTP/2.
	es := readHTTP2(t, s, t.Context(), server.Client(), "/socket/sse", "Chime-Received: 0")
	if got := es.Head.Header.Get("Connection"); got != "" {
		t.Errorf("Connection: got %q, which HTTP/2 does not have", got)
	}
	secret := raw.SecretIn(t, es.Next().Data)
	res := ask(t, s, t.Context(), server.Client(), http.MethodPost, "/socket/sse",
		`{"first":1,"frames":[["1","1","hall:1","phx_join",{"as":"attacker"}],["1",null,"hall:1","say",{"n":1}]]}`, "Chime-Secret: "+secret)
	res.WantApplied(t, 2)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	const say = `[null,null,"hall:1","say",{"n":1}]`
	w.Hears(say)
	ws.Want(say)
	es.Want(say)

	// An upgrade over HTTP/2 is none.
	res = ask(t, s, t.Context(), server.Client(), http.MethodGet, raw.PhoenixTarget, "")
	res.Want(t, http.StatusBadRequest, `{"reason":"this is a WebSocket endpoint: upgrade the request, or use the event stream at sse"}`)

	ws.Text(`[null,null,"chime","goodbye",{}]`)
	s.Hall.WantLeft(t, "hall:1", "guest", "closed")
	ask(t, s, t.Context(), server.Client(), http.MethodPost, "/socket/bye", secret).Want(t, http.StatusNoContent, "")
	es.WantClosed(1000, "bye")
	s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
	w.IsWell()
	if _, err := io.Copy(io.Discard, es.R); err != nil {
		t.Errorf("after the end: %v", err)
	}
}
