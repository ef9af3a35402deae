package server_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

func TestAClientSocketOutlivesItsConnection(t *testing.T) {
	for _, breaks := range []struct {
		name string
		how  func(*testing.T, *hall, *carrier)
	}{
		{"broken", func(_ *testing.T, _ *hall, cr *carrier) { cr.plug.kill() }},
		{"closed without a word", func(_ *testing.T, _ *hall, cr *carrier) { _ = cr.plug.Close() }},
		{"silent", func(_ *testing.T, _ *hall, cr *carrier) {
			cr.plug.mute()
			time.Sleep(40 * time.Second)
		}},
		{"still there", func(*testing.T, *hall, *carrier) {}},
	} {
		t.Run(breaks.name, func(t *testing.T) {
			onEachPair(t, server.Config{}, func(t *testing.T, h *hall, from, to string) {
				cr, a := begin(t, h, knock{transport: from})
				unread := tell(t, a, 2)
				synctest.Wait()
				breaks.how(t, h, cr)
				synctest.Wait()
				missed := tell(t, a, 3)
				next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
				if next.hello.ID != cr.hello.ID || next.hello.Secret == cr.hello.Secret || next.hello.Received != 1 {
					t.Errorf("got %+v after %+v, want the same id, another secret, and 1 received", next.hello, cr.hello)
				}
				next.promote(t, h, 1)
				next.want(t, unread, missed, tell(t, a, 4))
				next.push(t, h, 2, `{"n":2}`)
				wantHeard(t, a, `{"n":1}`, `{"n":2}`)
				wantAlive(t, a)
				if got := a.cs.Transport(); got != to {
					t.Errorf("Transport is %q, want %q", got, to)
				}
				if n := h.server.Len(); n != 1 {
					t.Errorf("Len is %d, want 1", n)
				}
			})
		})
	}
}

// A close frame may be of a box between the client and the server, with any code.
func TestWhichWebSocketsOutliveTheirEnd(t *testing.T) {
	for _, test := range []struct {
		name  string
		frame []byte
		lives bool
	}{
		{"1000", frame(fin|opClose, "\x03\xe8"), true},
		{"no status", frame(fin|opClose, ""), true},
		{"1001", frame(fin|opClose, "\x03\xe9"), true},
		{"1012", frame(fin|opClose, "\x03\xf4"), true},
		{"4000", frame(fin|opClose, "\x0f\xa0"), true},
		{"goodbye", frame(fin|opText, goodbye), false},
		{"broken framing", []byte{0x83, 0x80, 0, 0, 0, 0}, false},
		{"no frame", frame(fin|opText, "{}"), false},
		{"too large", frame(fin|opText, string(make([]byte, 65<<10))), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inHall(t, server.Config{}, func(t *testing.T, h *hall) {
				cr, a := begin(t, h, knock{transport: transport.WebSocket})
				start := time.Now()
				if _, err := cr.plug.Write(test.frame); err != nil {
					t.Fatal(err)
				}
				if !test.lives {
					wantClosed(t, a, start, 0, transport.Closed)
					wantDead(t, h, cr.hello.Secret)
					return
				}
				time.Sleep(10 * time.Second)
				wantAlive(t, a)
				next := resume(t, h, knock{transport: transport.WebSocket, secret: cr.hello.Secret})
				next.promote(t, h, 1)
				next.want(t, tell(t, a, 2))
			})
		})
	}
}

func TestOfTwoThatResumeAtOnceOneWins(t *testing.T) {
	for _, winner := range []int{0, 1} {
		onPairs(t, server.Config{}, bothTransports, bothTransports, func(t *testing.T, h *hall, one, other string) {
			cr, a := begin(t, h, knock{transport: transport.WebSocket})
			cr.plug.kill()
			k := knock{secret: cr.hello.Secret, received: 1}
			k.transport = one
			both := []*carrier{resume(t, h, k), nil}
			k.transport = other
			both[1] = resume(t, h, k)
			missed := tell(t, a, 2)
			winning, losing := both[winner], both[1-winner]
			start := time.Now()
			winning.promote(t, h, 1)
			winning.want(t, missed, tell(t, a, 3))
			losing.wantClosedFor(t, winner == 0, start)
			wantAlive(t, a)
		})
	}
}

// wantClosedFor reads how a candidate ends when another has been promoted. That one
// is told so if it is older. Of a newer one the client may have spoken already,
// so it has the time that it would have had.
func (cr *carrier) wantClosedFor(t *testing.T, newer bool, start time.Time) {
	t.Helper()
	if !newer {
		cr.wantMoved(t)
		return
	}
	cr.wantClose(t, wire.CloseReplaced, "not used")
	if at := time.Since(start); at > 10*time.Second {
		t.Errorf("it ended after %v, want at most 10s", at)
	}
}

func TestAMoveEndsTheFormerConnectionAndWhatStillComesOfItIsIgnored(t *testing.T) {
	onEachPair(t, server.Config{}, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
		// Until the promotion the former connection carries all.
		cr.want(t, tell(t, a, 2))
		cr.push(t, h, 2, `{"n":2}`)
		next.promote(t, h, 2)
		if cr.ws != nil {
			cr.write(t, `["1",null,"room:1","say",{"n":3}]`)
		} else {
			wantPost(t, h, cr.hello.Secret, batch(3, 2, `["1",null,"room:1","say",{"n":3}]`), 410, unknown)
		}
		cr.wantMoved(t)
		// Hello said 1: on a WebSocket number 2 comes first, though it is there already.
		next.push(t, h, 2, `{"n":2}`)
		next.push(t, h, 3, `{"n":3}`)
		next.want(t, tell(t, a, 3))
		wantHeard(t, a, `{"n":1}`, `{"n":2}`, `{"n":3}`)
		wantAlive(t, a)
	})
}

func TestACandidateThatIsNotUsedEndsAfter10Seconds(t *testing.T) {
	onPairs(t, server.Config{}, everyTransport, bothTransports, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		start := time.Now()
		next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
		live := tell(t, a, 2)
		next.wantClose(t, wire.CloseReplaced, "not used")
		if at := time.Since(start); at != 10*time.Second {
			t.Errorf("it ended after %v, want 10s", at)
		}
		cr.want(t, live, tell(t, a, 3))
		cr.push(t, h, 2, `{"n":2}`)
		wantHeard(t, a, `{"n":1}`, `{"n":2}`)
		// Its secret is as good as that of any candidate that broke.
		again := resume(t, h, knock{transport: to, secret: next.hello.Secret, received: 3})
		again.promote(t, h, 3)
		cr.wantMoved(t)
		again.want(t, tell(t, a, 4))
		wantAlive(t, a)
	})
}

func TestAFifthCandidateEndsTheOldest(t *testing.T) {
	onPairs(t, server.Config{}, everyTransport, bothTransports, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		var candidates []*carrier
		for range 5 {
			time.Sleep(time.Second)
			candidates = append(candidates, resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1}))
		}
		start := time.Now()
		candidates[0].wantClose(t, wire.CloseReplaced, "")
		if at := time.Since(start); at != 0 {
			t.Errorf("the oldest ended %v after the fifth", at)
		}
		candidates[2].promote(t, h, 1)
		cr.wantMoved(t)
		for _, i := range []int{1, 3, 4} {
			candidates[i].wantClosedFor(t, i > 2, start)
		}
		candidates[2].want(t, tell(t, a, 2))
		wantAlive(t, a)
	})
}

func TestASecretIsGoodUntilAnewOneIsUsed(t *testing.T) {
	onPairs(t, server.Config{}, everyTransport, bothTransports, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		first := cr.hello.Secret
		cr.plug.kill()
		k := knock{transport: to, secret: first, received: 1}
		for tries := range 3 {
			k.fault = fault{Down: 60 * (tries + 1)}
			if _, err := h.open(k); err == nil {
				t.Fatal("got a hello that should be lost")
			}
			synctest.Wait() // the server goes on with a request whose client has gone: not all at once, and not after the next
		}
		k.fault = fault{}
		seen := resume(t, h, k)
		seen.plug.kill()
		// Its hello was seen, and it was not used: both are good.
		resume(t, h, k).plug.kill()
		k.secret = seen.hello.Secret
		next := resume(t, h, k)
		next.promote(t, h, 1)
		next.want(t, tell(t, a, 2))
		wantAlive(t, a)
		for _, dead := range []string{first, seen.hello.Secret} {
			wantDead(t, h, dead)
		}
		wantAlive(t, a)
	})
}

// A candidate's secret goes on being good when a client that has seen its
// hello, and no other since, keeps trying with it.
func TestASecretThatIsTriedAgainAndAgainStaysGood(t *testing.T) {
	onPairs(t, server.Config{}, everyTransport, bothTransports, func(t *testing.T, h *hall, from, to string) {
		cr, a := begin(t, h, knock{transport: from})
		cr.plug.kill()
		seen := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
		seen.plug.kill()
		k := knock{transport: to, secret: seen.hello.Secret, received: 1, fault: fault{Down: 100}}
		for range 20 {
			if _, err := h.open(k); err == nil {
				t.Fatal("got a hello that should be lost")
			}
			synctest.Wait() // the server goes on with a request whose client has gone: not all at once, and not after the next
		}
		k.fault = fault{}
		next := resume(t, h, k)
		next.promote(t, h, 1)
		next.want(t, tell(t, a, 2))
	})
}

// Of candidates that broke 8 secrets are good besides the current one.
func TestTheSecretsOfTheLastEightThatBrokeAreGood(t *testing.T) {
	const broken, kept = 20, 8
	onPairs(t, server.Config{}, bothTransports, bothTransports, func(t *testing.T, h *hall, from, to string) {
		for which := range broken { // a look at one of them changes which are kept
			cr, a := begin(t, h, knock{transport: from})
			var secrets [broken]string
			for i := range secrets {
				next := mustOpen(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
				secrets[i] = next.hello.Secret
				next.plug.kill()
				_ = next.plug.Close()
				synctest.Wait()
			}
			if which < broken-kept {
				wantDead(t, h, secrets[which])
				cr.want(t, tell(t, a, 2))
			} else {
				next := resume(t, h, knock{transport: to, secret: secrets[which], received: 1})
				next.promote(t, h, 1)
				next.want(t, tell(t, a, 2))
			}
			wantAlive(t, a)
		}
	})
}

// A POST that promotes may be late: its stream has broken, and the client has
// seen the hello of another connection.
func TestALatePromotionKeepsTheNewerSecretGood(t *testing.T) {
	onBoth(t, server.Config{}, func(t *testing.T, h *hall, to string) {
		cr, a := begin(t, h, knock{transport: transport.SSE})
		cr.plug.kill()
		broken := resume(t, h, knock{transport: transport.SSE, secret: cr.hello.Secret, received: 1})
		broken.plug.kill()
		newer := resume(t, h, knock{transport: to, secret: broken.hello.Secret, received: 1})
		wantPost(t, h, broken.hello.Secret, batch(2, 1, `["1",null,"room:1","say",{"n":2}]`), 200, `{"applied":2,"sent":1}`)
		last := resume(t, h, knock{transport: to, secret: newer.hello.Secret, received: 1})
		last.promote(t, h, 1)
		last.want(t, tell(t, a, 2))
		wantHeard(t, a, `{"n":1}`, `{"n":2}`)
		wantAlive(t, a)
	})
}

func TestARefusedResumeHarmsNothing(t *testing.T) {
	var refuse atomic.Pointer[transport.RefusedError]
	var fail atomic.Bool
	cfg := server.Config{Connect: func(r *http.Request) (transport.Identity, error) {
		if e := refuse.Load(); e != nil {
			return transport.Identity{}, e
		}
		if fail.Load() {
			return transport.Identity{}, errors.New("no database")
		}
		return transport.Identity{ID: r.Header.Get("As")}, nil
	}}
	onEachPair(t, cfg, func(t *testing.T, h *hall, from, to string) {
		for _, detached := range []bool{false, true} {
			cr, a := begin(t, h, knock{transport: from})
			if detached {
				cr.plug.kill()
			}
			k := knock{transport: to, secret: cr.hello.Secret, received: 1, as: "mallory"}
			wantRefusal(t, h, k, 403)
			k.as = ""
			refuse.Store(&transport.RefusedError{Status: 401, Reason: "token expired"})
			wantRefusal(t, h, k, 401)
			refuse.Store(nil)
			fail.Store(true)
			wantRefusal(t, h, k, 503)
			fail.Store(false)
			if !detached {
				cr.want(t, tell(t, a, 2))
			}
			next := resume(t, h, k)
			next.promote(t, h, uint64(a.saidSoFar()))
			next.want(t, tell(t, a, 3))
			wantAlive(t, a)
		}
	})
}

func wantRefusal(t *testing.T, h *hall, k knock, status int) {
	t.Helper()
	_, err := h.open(k)
	if refused, ok := errors.AsType[*refusal](err); !ok || refused.status != status {
		t.Errorf("%s: got %v, want status %d", k.transport, err, status)
	}
}

func TestACandidateSaysNothingCountedBeforeItsAck(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		cr, a := begin(t, h, knock{transport: transport.WebSocket})
		next := resume(t, h, knock{transport: transport.WebSocket, secret: cr.hello.Secret})
		next.write(t, `["1",null,"room:1","say",{"n":2}]`)
		next.wantClose(t, wire.CloseUndecodable, "")
		cr.want(t, tell(t, a, 2))
		cr.push(t, h, 2, `{"n":2}`)
		wantHeard(t, a, `{"n":1}`, `{"n":2}`)
		wantAlive(t, a)
	})
}

func TestAProbeIsAnsweredOnItsConnectionBeforeAndAfterThePromotion(t *testing.T) {
	const probe, answer = `[null,null,"chime","probe",{"nonce":"7f"}]`, `[null,null,"chime","probe_ok",{"nonce":"7f"}]`
	onEachPair(t, server.Config{}, func(t *testing.T, h *hall, from, to string) {
		ask := func(cr *carrier, first uint64) {
			t.Helper()
			if cr.ws != nil {
				cr.write(t, probe)
			} else if status, text, err := h.post("/sse", cr.hello.Secret, "", batch(first, 1, probe), fault{}); status != 200 {
				t.Errorf("POST: %d %s %v, want 200", status, text, err)
			}
			cr.want(t, answer)
		}
		cr, a := begin(t, h, knock{transport: from})
		ask(cr, 2)
		next := resume(t, h, knock{transport: to, secret: cr.hello.Secret, received: 1})
		if next.ws != nil {
			ask(next, 2) // on a stream it would promote
		}
		ask(cr, 2)
		next.promote(t, h, 1)
		cr.wantMoved(t)
		ask(next, 2)
		next.want(t, tell(t, a, 2))
	})
}

func TestAHeartbeatSaysWhatTheServerHas(t *testing.T) {
	onEvery(t, server.Config{}, func(t *testing.T, h *hall, kind string) {
		cr, a := begin(t, h, knock{transport: kind})
		cr.push(t, h, 2, `{"n":2}`)
		cr.push(t, h, 3, `{"n":3}`)
		cr.want(t, tell(t, a, 2))
		if _, text, err := cr.read(); text != `[null,null,"chime","heartbeat",{"sent":2,"received":3}]` {
			t.Errorf("got %s and error %v, want a heartbeat with 2 sent and 3 received", text, err)
		}
	})
}
