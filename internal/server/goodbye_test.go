package server_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// A client may not trust a close frame, which can be of any box in between. So whatever
// ends a client socket is said in a frame: wantEnd looks for it.
func TestEveryEndOfAClientSocketIsSaidInAFrame(t *testing.T) {
	onSocket := func(b ...byte) func(*testing.T, *hall, *carrier, *app) {
		return func(t *testing.T, _ *hall, cr *carrier, _ *app) {
			if _, err := cr.plug.Write(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name   string
		code   wire.CloseCode
		reason string
		socket bool // a stream can't end so
		by     func(*testing.T, *hall, *carrier, *app)
	}{
		{"goodbye", 1000, "bye", false, func(t *testing.T, h *hall, cr *carrier, _ *app) { cr.goodbye(t, h) }},
		{"bye", 1000, "bye", false, func(t *testing.T, h *hall, cr *carrier, _ *app) {
			if status, _, err := h.post("/bye", "", "", cr.hello.Secret, fault{}); status != http.StatusNoContent {
				t.Errorf("bye: %d %v", status, err)
			}
		}},
		{"disconnect", 1001, "enough", false, func(_ *testing.T, h *hall, _ *carrier, _ *app) { h.server.Disconnect("", "enough") }},
		{"expired", 1001, "expired", false, func(*testing.T, *hall, *carrier, *app) { time.Sleep(21 * time.Second) }},
		{"an ack beyond", 1007, "more frames are acknowledged than were sent", true, onSocket(frame(fin|opText, ack(99))...)},
		{"no frame", 1007, "", true, onSocket(frame(fin|opText, "{}")...)},
		{"broken framing", 1002, "", true, onSocket(frame(0x83, "")...)},
		{"too large", 1009, "message too large", true, onSocket(frame(fin|opText, strings.Repeat(" ", 65<<10))...)},
		{"drain", 1012, "drain", false, func(t *testing.T, h *hall, cr *carrier, _ *app) {
			go h.server.Drain(context.Background(), func() {})
			if text, err := cr.readPastHeartbeats(); !strings.HasPrefix(text, `[null,null,"chime","drain",`) {
				t.Errorf("got %s and error %v, want drain", text, err)
			}
		}},
		{"too slow", 1013, "too slow", false, func(t *testing.T, _ *hall, _ *carrier, a *app) {
			large := wire.NewPush("room:1", "said", []byte(`{"n":"`+strings.Repeat("x", 2<<20)+`"}`), 0)
			err := a.send(large)
			for range 1000 { // until they come faster than they are written
				if err == nil {
					err = a.send(large)
				}
			}
			if !errors.Is(err, transport.ErrSlow) {
				t.Errorf("Send: got %v, want %v", err, transport.ErrSlow)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := server.Config{Limits: transport.Limits{TotalQueueBytes: 1 << 20}, Connect: func(*http.Request) (id transport.Identity, _ error) {
				if test.name == "expired" {
					id.Expires = time.Now().Add(20 * time.Second)
				}
				return id, nil
			}}
			onEvery(t, cfg, func(t *testing.T, h *hall, kind string) {
				if test.socket && kind != transport.WebSocket || test.name == "bye" && kind == transport.LongPoll {
					return // who says bye polls no more
				}
				cr, a := begin(t, h, knock{transport: kind})
				test.by(t, h, cr, a)
				cr.wantEnd(t, test.code, test.reason)
				synctest.Wait()
				if len(a.closed) != 1 {
					t.Errorf("Closed was called %d times, want 1", len(a.closed))
				}
				if !h.server.Draining() {
					wantDead(t, h, cr.hello.Secret)
				}
			})
		})
	}
}

// goodbye has the client leave in a frame.
func (cr *carrier) goodbye(t *testing.T, h *hall) {
	t.Helper()
	if cr.ws != nil {
		cr.write(t, goodbye)
		return
	}
	if status, answer, err := h.post("/sse", cr.hello.Secret, "", batch(2, 1, goodbye), fault{}); status != http.StatusOK {
		t.Fatalf("POST: %d %s %v, want 200", status, answer, err)
	}
}

func TestNothingBehindAGoodbyeIsHandled(t *testing.T) {
	onEvery(t, server.Config{}, func(t *testing.T, h *hall, kind string) {
		cr, a := begin(t, h, knock{transport: kind})
		late := `["1",null,"room:1","say",{"n":2}]`
		if cr.ws != nil {
			both := append(frame(fin|opText, goodbye), frame(fin|opText, late)...)
			if _, err := cr.plug.Write(both); err != nil {
				t.Fatal(err)
			}
		} else {
			wantPost(t, h, cr.hello.Secret, batch(2, 1, goodbye, late), http.StatusOK, `{"applied":1,"sent":1}`)
		}
		cr.wantEnd(t, wire.CloseNormal, "bye")
		wantHeard(t, a, `{"n":1}`)
		if got := <-a.closed; got.why != transport.Closed {
			t.Errorf("Closed(%s), want Closed(%s)", got.why, transport.Closed)
		}
	})
}

// Before the promotion both connections are the client's. After it the former one is not.
func TestAGoodbyeCountsOnAnyConnectionThatIsNotGivenUp(t *testing.T) {
	onPairs(t, server.Config{}, everyTransport, bothTransports, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
		next.promote(t, h, 1)
		if cr.ws != nil {
			cr.write(t, goodbye)
		} else {
			wantPost(t, h, cr.hello.Secret, batch(2, 1, goodbye), http.StatusGone, unknown)
		}
		wantAlive(t, a)
		cr.wantMoved(t)
		candidate := resume(t, h, knock{transport: to, secret: next.hello.Secret, received: 1})
		candidate.goodbye(t, h)
		candidate.wantEnd(t, wire.CloseNormal, "bye")
		if got := <-a.closed; got.why != transport.Closed {
			t.Errorf("Closed(%s), want Closed(%s)", got.why, transport.Closed)
		}
	})
}

// Some boxes hold what came first until more comes. For an idle client the second bytes
// cost nothing: no goroutine that was not there, and no time at which anything is due.
func TestAStreamSaysSomethingASecondTimeSoonAfterItsHello(t *testing.T) {
	for _, target := range []string{"/sse", "/sse?join=room:1"} {
		for _, n := range []network{{name: "hijacked"}, {name: "without-hijack", http1WithoutHijack: true}, {name: "http2", http2: true}} {
			t.Run(target+" "+n.name, func(t *testing.T) {
				inBubble(t, n, server.Config{}, nil, func(t *testing.T, b *bubble) {
					var header []string
					if target == "/sse" {
						header = []string{"Chime-Received: 0"}
					}
					es, err := b.stream(target, header...)
					if err != nil {
						t.Fatal(err)
					}
					defer es.Vanish()
					if header != nil {
						if text, err := es.text(); secretIn(text) == "" {
							t.Fatalf("got %s and error %v, want hello", text, err)
						}
					} else if first, err := es.r.ReadString('\n'); first != ": chime\n" {
						t.Fatalf("got %q and error %v, want the first comment", first, err)
					} else if _, err := es.r.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
					start := time.Now()
					var got string
					for range 2 {
						line, err := es.r.ReadString('\n')
						if err != nil {
							t.Fatal(err)
						}
						got += line
					}
					if at := time.Since(start); got != ":\n\n" || at != 75*time.Millisecond {
						t.Errorf("after %v got %q, want after 75ms an empty comment", at, got)
					}
					line, err := es.r.ReadString('\n')
					if at := time.Since(start); !strings.HasPrefix(line, "data: "+heartbeat(0)) || at < 15*time.Second || at > 15075*time.Millisecond {
						t.Errorf("after %v got %q and error %v, want a heartbeat after 15s, and nothing before", at, line, err)
					}
				})
			})
		}
	}
}
