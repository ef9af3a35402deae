package hostile_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5/middleware"

	"github.com/go-chime/chime/internal/raw"
)

// Time that servers, middleware and clients take, in synctest bubbles.

// TestTimeoutsOfTheServerDoNotEndConnections: http.Server's limits are for
// requests that end.
func TestTimeoutsOfTheServerDoNotEndConnections(t *testing.T) {
	server := &http.Server{ReadTimeout: time.Second, ReadHeaderTimeout: time.Second, WriteTimeout: time.Second, IdleTimeout: time.Second}
	use := []func(http.Handler) http.Handler{middleware.Timeout(time.Second)}
	raw.InBubbleBehind(t, server, nil, use, func(t *testing.T, s *raw.Site) {
		es, secret := s.Half(t)
		ws := s.Phoenix(t).Join("hall:1", "somebody")
		flush := s.Bare(t, "join=hall:1")
		flush.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		flush.Early()
		time.Sleep(5 * time.Second)
		s.Post(t, secret, `{"first":1,"frames":[["1","1","hall:1","phx_join",{}]]}`).WantApplied(t, 1)
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		for n := range 3 {
			time.Sleep(7 * time.Second) // under the heartbeat: nothing else is written meanwhile
			if err := s.Live.Broadcast(t.Context(), "hall:1", "tick", nil); err != nil {
				t.Fatal(err)
			}
			const tick = `[null,null,"hall:1","tick",{}]`
			ws.Want(tick)
			es.Want(tick)
			flush.Want(tick)
			s.Post(t, secret, fmt.Sprintf(`{"first":2,"received":%d,"frames":[]}`, 2+n)).WantApplied(t, 1)
		}
		s.Hall.WantNobodyLeft(t)
	})
}

// TestStreamThatOnlyFlushesOutlivesTimeouts: it stays in its handler.
func TestStreamThatOnlyFlushesOutlivesTimeouts(t *testing.T) {
	server := &http.Server{ReadTimeout: time.Second, WriteTimeout: time.Second}
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(withoutHijack{w}, r) })
	}
	raw.InBubbleBehind(t, server, nil, []func(http.Handler) http.Handler{wrap, middleware.Timeout(time.Second)}, func(t *testing.T, s *raw.Site) {
		es := s.Bare(t, "join=hall:1")
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		es.Early()
		for range 5 {
			time.Sleep(14 * time.Second)
			if err := s.Live.Broadcast(t.Context(), "hall:1", "tick", nil); err != nil {
				t.Fatal(err)
			}
			es.Want(`[null,null,"hall:1","tick",{}]`)
		}
		time.Sleep(14 * time.Second)
		s.Hall.WantNobodyLeft(t)
	})
}

// TestSlowBodyIsGivenUp: a POST that never ends holds nobody up, least of all
// other POSTs of its client, and is answered in the end.
func TestSlowBodyIsGivenUp(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		w := s.Witness(t)
		es, secret := s.Half(t)
		head := "POST /socket/sse HTTP/1.1\r\nHost: chime.example\r\nContent-Length: 100\r\nChime-Secret: " + secret + "\r\n\r\n{\"first\":1"
		conn := s.Connect(t)
		if _, err := conn.Write([]byte(head)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		s.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`]}`).WantApplied(t, 1)
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		// Its client has given it up: it is, too, and nothing of it is kept.
		raw.AnswerOn(t, bufio.NewReader(conn), nil).Want(t, http.StatusTooManyRequests, `{"reason":"another POST of this client is under way"}`)
		if took := time.Since(began); took != 0 {
			t.Errorf("given up after %s, want at once", took)
		}
		if got := refusals(s.Live, "post_busy"); got != 1 {
			t.Errorf("got %d refused by post_busy, want 1", got)
		}
		w.IsWell()
		es.Want(raw.Tick(1))
		conn = s.Connect(t)
		if _, err := conn.Write([]byte(head)); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		raw.AnswerOn(t, bufio.NewReader(conn), nil).WantBatchRefused(t, 0, "body could not be read")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("given up after %s, want 10s", took)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is kept, want it closed")
		}
		w.IsWell()
		s.Hall.WantNobodyLeft(t)
	})
}

func TestSlowGoodbyeIsGivenUp(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		conn := s.Connect(t)
		if _, err := conn.Write([]byte("POST /socket/bye HTTP/1.1\r\nHost: chime.example\r\nContent-Length: 100\r\n\r\nx")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		raw.AnswerOn(t, bufio.NewReader(conn), nil).Want(t, http.StatusNoContent, "")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("given up after %s, want 10s", took)
		}
	})
}

// TestSilentWebSocketIsGone, and a stream is not: its client may have nothing to say.
func TestSilentWebSocketIsGone(t *testing.T) {
	for dialect, silence := range map[string]time.Duration{"phoenix": 60 * time.Second, "chime": 35 * time.Second} {
		t.Run(dialect, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
				es := s.Bare(t, "join=hall:1&as=reader")
				raw.Ignore(es.Conn)
				ws := speaking(t, s, dialect).Join("hall:1", dialect)
				half := silence - time.Second
				raw.Ignore(ws.Conn)
				time.Sleep(half)
				ws.Write(raw.Masked(raw.Fin|raw.OpText, `[null,"1","phoenix","heartbeat",{}]`)[:1]) // a byte is a sign of life
				time.Sleep(half)
				w := s.Witness(t) // not before, or it would have been silent for as long
				w.IsWell()
				s.Hall.WantNobodyLeft(t)
				began := time.Now()
				s.Hall.WantLeft(t, "hall:1", dialect, "vanished")
				if took := time.Since(began); took != time.Second {
					t.Errorf("gone after another %s of silence, want 1s", took)
				}
				w.IsWell()
				s.Hall.WantNobodyLeft(t)
			})
		})
	}
}

// withoutHijack can set deadlines and flush, but not be hijacked.
type withoutHijack struct{ http.ResponseWriter }

func (w withoutHijack) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (withoutHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}
