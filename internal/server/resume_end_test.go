package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

func TestADetachedClientSocketEndsWhenItsGraceIsOver(t *testing.T) {
	for _, test := range []struct {
		name         string
		grace, after time.Duration
	}{
		{"by default", 0, 15 * time.Second},
		{"short", time.Second, time.Second},
		{"the longest", 2 * time.Minute, 2 * time.Minute},
		{"none", server.NoGrace, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			onPairs(t, server.Config{Grace: test.grace}, bothTransports, bothTransports, func(t *testing.T, h *hall, from, to string) {
				cr, a := begin(t, h, knock{transport: from})
				if got := cr.hello.GraceMS; got != test.after.Milliseconds() {
					t.Errorf("hello has grace_ms %d, want %d", got, test.after.Milliseconds())
				}
				secret, start := cr.hello.Secret, time.Now()
				cr.plug.kill()
				if test.after > 0 { // a resume in time begins it anew
					time.Sleep(test.after - 1)
					wantAlive(t, a)
					next := resume(t, h, knock{transport: to, secret: secret, received: 1})
					next.promote(t, h, 1)
					secret, start = next.hello.Secret, time.Now()
					next.plug.kill()
				}
				wantClosed(t, a, start, test.after, transport.Vanished)
				if _, err := a.say(2); !errors.Is(err, transport.ErrClosed) {
					t.Errorf("Send: got %v, want %v", err, transport.ErrClosed)
				}
				wantDead(t, h, secret)
			})
		})
	}
}

// A client that is about to promote must not find its client socket gone.
func TestTheGraceWaitsForACandidate(t *testing.T) {
	onPairs(t, server.Config{}, bothTransports, bothTransports, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		start := time.Now()
		cr.plug.kill()
		time.Sleep(14 * time.Second)
		next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
		time.Sleep(9 * time.Second)
		wantAlive(t, a)
		wantClosed(t, a, start, 24*time.Second, transport.Vanished)
		if text, err := next.readPastHeartbeats(); err == nil {
			t.Errorf("the candidate got %s, want its end", text)
		}
	})
}

func TestTheGraceWaitsForACandidateThatWasThereBefore(t *testing.T) {
	onPairs(t, server.Config{Grace: time.Second}, bothTransports, bothTransports, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
		cr.plug.kill()
		time.Sleep(9 * time.Second)
		wantAlive(t, a)
		next.promote(t, h, 1)
		next.want(t, tell(t, a, 2))
	})
}

func TestAClientSocketOnWhichNothingWasCountedEndsWithItsConnection(t *testing.T) {
	onBoth(t, server.Config{}, func(t *testing.T, h *hall, kind string) {
		cr := open(t, h, knock{transport: kind})
		a := <-h.apps
		if cr.ws != nil {
			cr.write(t, `[null,"1","phoenix","heartbeat",{}]`)
			cr.want(t, `[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]`)
		}
		start := time.Now()
		cr.plug.kill()
		wantClosed(t, a, start, 0, transport.Vanished)
		wantDead(t, h, cr.hello.Secret)
	})
}

func TestADialectThatCannotResumeLeavesAtOnce(t *testing.T) {
	for _, test := range []struct{ name, request string }{
		{"phoenix", "GET /websocket?vsn=2.0.0 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
		{"bare", "GET /sse?join=room:1 HTTP/1.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inHall(t, server.Config{}, func(t *testing.T, h *hall) {
				plug, err := h.net.dial(fault{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprintf(plug, "%s\r\nHost: example.com\r\n\r\n", test.request); err != nil {
					t.Fatal(err)
				}
				a := <-h.apps
				tell(t, a, 1)
				synctest.Wait()
				start := time.Now()
				plug.kill()
				wantClosed(t, a, start, 0, transport.Vanished)
			})
		})
	}
}

func TestADetachedClientSocketEndsOnce(t *testing.T) {
	few := server.Config{Limits: transport.Limits{QueueBytes: 1200}}
	small := server.Config{Limits: transport.Limits{QueueBytes: 600}}
	fill := func(t *testing.T, _ *hall, _ *carrier, a *app) {
		var err error
		for n := 0; err == nil && n < 100; n++ {
			_, err = a.say(n)
		}
		if !errors.Is(err, transport.ErrSlow) {
			t.Errorf("Send: got %v, want %v", err, transport.ErrSlow)
		}
	}
	for _, test := range []struct {
		name string
		cfg  server.Config
		end  func(*testing.T, *hall, *carrier, *app)
		why  transport.Reason
	}{
		{"Disconnect", server.Config{}, func(t *testing.T, h *hall, _ *carrier, _ *app) {
			if n := h.server.Disconnect("", "enough"); n != 1 {
				t.Errorf("Disconnect: got %d, want 1", n)
			}
		}, transport.Kicked},
		{"Close", server.Config{}, func(_ *testing.T, _ *hall, _ *carrier, a *app) {
			a.cs.Close(wire.CloseDisconnect, "enough", transport.Kicked)
		}, transport.Kicked},
		{"bye", server.Config{}, func(t *testing.T, h *hall, cr *carrier, _ *app) {
			if status, _, err := h.post("/bye", "", "", cr.hello.Secret, fault{}); status != 204 || err != nil {
				t.Errorf("bye: got %d and error %v, want 204", status, err)
			}
		}, transport.Closed},
		{"a queue full of messages", few, fill, transport.Slow},
		{"a queue full of bytes", small, fill, transport.Slow},
		{"Shutdown", server.Config{}, func(t *testing.T, h *hall, _ *carrier, _ *app) {
			if err := h.server.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		}, transport.Drained},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBoth(t, test.cfg, func(t *testing.T, h *hall, kind string) {
				cr, a := begin(t, h, knock{transport: kind})
				cr.plug.kill()
				time.Sleep(5 * time.Second)
				start := time.Now()
				test.end(t, h, cr, a)
				if at := time.Since(start); at != 0 {
					t.Errorf("it took %v, and there is nobody to wait for", at)
				}
				wantClosed(t, a, start, 0, test.why)
				if n := h.server.Len(); n != 0 {
					t.Errorf("Len is %d, want 0", n)
				}
				if test.why != transport.Drained {
					wantDead(t, h, cr.hello.Secret)
				}
			})
		})
	}
}

func TestEveryGoodSecretSaysBye(t *testing.T) {
	for _, which := range []string{"the connection's", "a candidate's", "that of a candidate that broke"} {
		t.Run(which, func(t *testing.T) {
			onEachPair(t, server.Config{}, func(t *testing.T, h *hall, from, to string) {
				cr, a := begin(t, h, knock{transport: from})
				next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
				secret := next.hello.Secret
				switch which {
				case "the connection's":
					secret = cr.hello.Secret
				case "that of a candidate that broke":
					next.plug.kill()
				}
				start := time.Now()
				if status, _, err := h.post("/bye", "", "", secret, fault{}); status != 204 || err != nil {
					t.Errorf("got %d and error %v, want 204", status, err)
				}
				wantClosed(t, a, start, 0, transport.Closed)
			})
		})
	}
}

func TestAnIdentityIsRefreshedByAResume(t *testing.T) {
	for _, test := range []struct {
		name  string
		again func(t *testing.T, h *hall, cr *carrier, a *app)
	}{
		{"a resume", func(t *testing.T, h *hall, cr *carrier, _ *app) {
			cr.plug.kill()
			resume(t, h, knock{transport: cr.transport, secret: cr.hello.Secret, received: 1}).promote(t, h, 1)
		}},
		{"a move", func(t *testing.T, h *hall, cr *carrier, _ *app) {
			to := transport.WebSocket
			if cr.ws != nil {
				to = transport.SSE
			}
			resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1}).promote(t, h, 1)
		}},
		{"a POST", func(t *testing.T, h *hall, cr *carrier, _ *app) {
			if cr.ws == nil {
				cr.push(t, h, 2, `{"n":2}`)
				return
			}
			next := resume(t, h, knock{transport: transport.SSE, secret: cr.hello.Secret, received: 1})
			next.promote(t, h, 1)
		}},
	} {
		for _, kind := range bothTransports {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				cfg := server.Config{Grace: time.Minute, Connect: func(*http.Request) (transport.Identity, error) {
					return transport.Identity{Expires: time.Now().Add(20 * time.Second)}, nil
				}}
				inHall(t, cfg, func(t *testing.T, h *hall) {
					start := time.Now()
					cr, a := begin(t, h, knock{transport: kind})
					time.Sleep(12 * time.Second)
					test.again(t, h, cr, a)
					wantClosed(t, a, start, 32*time.Second, transport.Expired)
				})
			})
		}
	}
}

func TestAnIdentityExpiresThoughItsClientIsDetached(t *testing.T) {
	cfg := server.Config{Grace: time.Minute, Connect: func(*http.Request) (transport.Identity, error) {
		return transport.Identity{Expires: time.Now().Add(20 * time.Second)}, nil
	}}
	onBoth(t, cfg, func(t *testing.T, h *hall, kind string) {
		start := time.Now()
		cr, a := begin(t, h, knock{transport: kind})
		cr.plug.kill()
		wantClosed(t, a, start, 20*time.Second, transport.Expired)
		wantDead(t, h, cr.hello.Secret)
	})
}

// Identity.Value is pinned: a channel never sees it change.
func TestAResumeDoesNotChangeTheIdentity(t *testing.T) {
	var calls atomic.Int64
	cfg := server.Config{Connect: func(*http.Request) (transport.Identity, error) {
		return transport.Identity{ID: "ada", Value: calls.Add(1)}, nil
	}}
	onEachPair(t, cfg, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		before := a.cs.Identity()
		resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1}).promote(t, h, 1)
		if got := a.cs.Identity(); got.ID != before.ID || got.Value != before.Value {
			t.Errorf("got %+v, want %+v", got, before)
		}
	})
}

func TestAClientThatMissedMoreThanTheServerKeepsIsEnded(t *testing.T) {
	for _, limit := range []struct {
		name string
		transport.Limits
	}{
		{"messages", transport.Limits{UnackedMessages: 8}},
		{"bytes", transport.Limits{UnackedBytes: 600}},
	} {
		t.Run(limit.name, func(t *testing.T) {
			onPairs(t, server.Config{Limits: limit.Limits}, bothTransports, bothTransports, func(t *testing.T, h *hall, from, to string) {
				cr, a := begin(t, h, knock{transport: from})
				for n := range 50 {
					tell(t, a, 2+n)
				}
				synctest.Wait()
				cr.plug.kill()
				next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
				start := time.Now()
				if next.ws != nil {
					next.promote(t, h, 1)
				} else {
					wantPost(t, h, next.hello.Secret, batch(2, 1), 410, unknown)
				}
				next.wantEnd(t, wire.CloseSlow, "too much was missed")
				wantClosed(t, a, start, 0, transport.Vanished)
				wantDead(t, h, next.hello.Secret)
			})
		})
	}
}

// What has been acknowledged takes no room, however much it is.
func TestAClientThatAcknowledgesMissesNothing(t *testing.T) {
	onEachPair(t, server.Config{Limits: transport.Limits{UnackedMessages: 8}}, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		for n := range 50 {
			cr.want(t, tell(t, a, 2+n))
			if cr.ws != nil {
				cr.write(t, ack(uint64(2+n)))
				synctest.Wait()
			} else {
				wantPost(t, h, cr.hello.Secret, batch(2, uint64(2+n)), 200, fmt.Sprintf(`{"applied":1,"sent":%d}`, 2+n))
			}
		}
		missed := []string{tell(t, a, 100), tell(t, a, 101)}
		synctest.Wait()
		cr.plug.kill()
		next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 51})
		next.promote(t, h, 51)
		next.want(t, missed...)
	})
}

func TestAnAckBeyondWhatWasSentEndsItsWebSocket(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		cr, a := begin(t, h, knock{transport: transport.WebSocket})
		start := time.Now()
		cr.write(t, ack(2))
		cr.wantEnd(t, wire.CloseUndecodable, "")
		wantClosed(t, a, start, 0, transport.Closed)
		wantDead(t, h, cr.hello.Secret)
	})
}

func TestAPromotionBeyondWhatWasSentEndsTheClientSocket(t *testing.T) {
	onEvery(t, server.Config{}, func(t *testing.T, h *hall, from string) {
		cr, a := begin(t, h, knock{transport: from})
		next := resume(t, h, knock{transport: transport.WebSocket, secret: cr.hello.Secret})
		start := time.Now()
		next.write(t, ack(7))
		next.wantEnd(t, wire.CloseUndecodable, "")
		wantClosed(t, a, start, 0, transport.Closed)
		wantDead(t, h, cr.hello.Secret)
	})
}

func TestAStuckWriteDetaches(t *testing.T) {
	// On a pipe a write takes as long as it takes the other side to read.
	const size = 100_000 // more than a window of HTTP/2
	onEachStuck := func(t *testing.T, resumes bool) {
		for _, c := range carriers {
			if !c.chime {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				inBubble(t, c.network, server.Config{Grace: 15 * time.Second}, nil, func(t *testing.T, b *bubble) {
					l, err := c.open(b.site)
					if err != nil {
						t.Fatal(err)
					}
					defer l.Vanish()
					text, err := l.text()
					var hello wire.Hello
					if err == nil {
						err = decodeChime(text, wire.EventHello, &hello)
					}
					if err != nil {
						t.Fatal(err)
					}
					cl := <-b.clients
					start := time.Now()
					if err := cl.cs.Send(wire.NewPush("room:1", "said", []byte(`{"pad":"`+strings.Repeat("x", size)+`"}`), 0), ""); err != nil {
						t.Fatal(err)
					}
					time.Sleep(12 * time.Second)
					if !resumes {
						wantDeparture(t, cl, start, 25*time.Second, transport.Vanished)
						return
					}
					es, err := b.stream("/sse", "Chime-Received: 0", "Chime-Secret: "+hello.Secret)
					if err != nil {
						t.Fatal(err)
					}
					defer es.Vanish()
					if text, err = es.text(); err == nil {
						err = decodeChime(text, wire.EventHello, &hello)
					}
					if err != nil || !hello.Resumed {
						t.Fatalf("got %s and error %v, want a resumed hello", text, err)
					}
					if status, answer, err := es.post("/sse", batch(1, 0), "Chime-Secret: "+hello.Secret); status != 200 {
						t.Fatalf("got %d %s %v, want 200", status, answer, err)
					}
					if text, err := es.text(); len(text) < size {
						t.Errorf("got %s and error %v, want the frame that was stuck", text, err)
					}
				})
			})
		}
	}
	t.Run("and it is gone after the grace", func(t *testing.T) { onEachStuck(t, false) })
	t.Run("and it resumes", func(t *testing.T) { onEachStuck(t, true) })
}

// The promotion of one of them may be under way.
func TestADrainIsSentOnEveryConnectionOfAClient(t *testing.T) {
	onPairs(t, server.Config{}, everyTransport, bothTransports, func(t *testing.T, h *hall, from, to string) {
		cr, _ := begin(t, h, knock{transport: from})
		next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
		go func() { _ = h.server.Shutdown(t.Context()) }() // the one of the hall's end waits for what this one began
		said, err := cr.readPastHeartbeats()
		if err != nil || !strings.HasPrefix(said, `[null,null,"chime","drain",`) {
			t.Fatalf("got %s and error %v, want a drain", said, err)
		}
		next.want(t, said)
		for _, conn := range []*carrier{cr, next} {
			conn.wantEnd(t, wire.CloseDrain, "drain")
		}
	})
}
