package chime_test

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/go-chi/chi/v5/middleware"
)

// Time that servers, middleware and clients take, in synctest bubbles.

// TestTimeoutsOfTheServerDoNotEndConnections: http.Server's limits are for
// requests that end.
func TestTimeoutsOfTheServerDoNotEndConnections(t *testing.T) {
	server := &http.Server{ReadTimeout: time.Second, ReadHeaderTimeout: time.Second, WriteTimeout: time.Second, IdleTimeout: time.Second}
	use := []func(http.Handler) http.Handler{middleware.Timeout(time.Second)}
	inBubbleBehind(t, server, nil, use, func(t *testing.T, s *rawSite) {
		es, secret := s.half(t)
		ws := s.phoenix(t).join("hall:1", "somebody")
		flush := s.bare(t, "join=hall:1")
		flush.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		time.Sleep(5 * time.Second)
		wantApplied(t, s.post(t, secret, `{"first":1,"frames":[["1","1","hall:1","phx_join",{}]]}`), 1)
		es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		for range 3 {
			time.Sleep(7 * time.Second) // under the heartbeat: nothing else is written meanwhile
			if err := s.live.Broadcast(t.Context(), "hall:1", "tick", nil); err != nil {
				t.Fatal(err)
			}
			const tick = `[null,null,"hall:1","tick",{}]`
			ws.want(tick)
			es.want(tick)
			flush.want(tick)
		}
		s.hall.wantNobodyLeft(t)
	})
}

// TestStreamThatOnlyFlushesOutlivesTimeouts: it stays in its handler.
func TestStreamThatOnlyFlushesOutlivesTimeouts(t *testing.T) {
	server := &http.Server{ReadTimeout: time.Second, WriteTimeout: time.Second}
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(withoutHijack{unwrapping{w}}, r) })
	}
	inBubbleBehind(t, server, nil, []func(http.Handler) http.Handler{wrap, middleware.Timeout(time.Second)}, func(t *testing.T, s *rawSite) {
		es := s.bare(t, "join=hall:1")
		es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		for range 5 {
			time.Sleep(14 * time.Second)
			if err := s.live.Broadcast(t.Context(), "hall:1", "tick", nil); err != nil {
				t.Fatal(err)
			}
			es.want(`[null,null,"hall:1","tick",{}]`)
		}
		time.Sleep(14 * time.Second)
		s.hall.wantNobodyLeft(t)
	})
}

// TestSlowBodyIsGivenUp: a POST that never ends holds nobody up, least of all
// other POSTs of its client, and is answered in the end.
func TestSlowBodyIsGivenUp(t *testing.T) {
	inBubble(t, &http.Server{}, nil, func(t *testing.T, s *rawSite) {
		w := s.witness(t)
		es, secret := s.half(t)
		head := "POST /socket/sse HTTP/1.1\r\nHost: chime.example\r\nContent-Length: 100\r\nChime-Secret: " + secret + "\r\n\r\n{\"first\":1"
		conn := s.connect(t)
		if _, err := conn.Write([]byte(head)); err != nil {
			t.Fatal(err)
		}
		wantApplied(t, s.post(t, secret, `{"first":1,"frames":[`+joinHall+`]}`), 1)
		es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		w.isWell()
		es.want(tick(1))
		began := time.Now()
		wantBatchRefused(t, answerOn(t, bufio.NewReader(conn), nil), 0, "body could not be read")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("given up after %s, want 10s", took)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is kept, want it closed")
		}
		w.isWell()
		s.hall.wantNobodyLeft(t)
	})
}

func TestSlowGoodbyeIsGivenUp(t *testing.T) {
	inBubble(t, &http.Server{}, nil, func(t *testing.T, s *rawSite) {
		conn := s.connect(t)
		if _, err := conn.Write([]byte("POST /socket/bye HTTP/1.1\r\nHost: chime.example\r\nContent-Length: 100\r\n\r\nx")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		wantAnswer(t, answerOn(t, bufio.NewReader(conn), nil), http.StatusNoContent, "")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("given up after %s, want 10s", took)
		}
	})
}

// TestSilentWebSocketIsGone, and a stream is not: its client may have nothing to say.
func TestSilentWebSocketIsGone(t *testing.T) {
	for dialect, silence := range map[string]time.Duration{"phoenix": 60 * time.Second, "chime": 35 * time.Second} {
		t.Run(dialect, func(t *testing.T) {
			inBubble(t, &http.Server{}, nil, func(t *testing.T, s *rawSite) {
				es := s.bare(t, "join=hall:1&as=reader")
				ignore(es.conn)
				ws := s.speaking(t, dialect).join("hall:1", dialect)
				half := silence - time.Second
				ignore(ws.conn)
				time.Sleep(half)
				ws.write(maskedFrame(fin|opText, `[null,"1","phoenix","heartbeat",{}]`)[:1]) // a byte is a sign of life
				time.Sleep(half)
				w := s.witness(t) // not before, or it would have been silent for as long
				w.isWell()
				s.hall.wantNobodyLeft(t)
				began := time.Now()
				s.hall.wantLeft(t, departure{"hall:1", dialect, "gone"})
				if took := time.Since(began); took != time.Second {
					t.Errorf("gone after another %s of silence, want 1s", took)
				}
				w.isWell()
				s.hall.wantNobodyLeft(t)
			})
		})
	}
}

// withoutHijack can set deadlines and flush, but not be hijacked.
type withoutHijack struct{ unwrapping }

func (withoutHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}
