package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// poller opens a client socket that is polled by hand, on connections of their own.
func poller(t *testing.T, h *hall) (*pollCarrier, *app) {
	t.Helper()
	cr := open(t, h, knock{transport: transport.LongPoll})
	return cr.polls, <-h.apps
}

// again is a poll beside the others of p, from received on, answered within hold ms.
func (p *pollCarrier) again(t *testing.T, h *hall, received uint64, hold string) *pollCarrier {
	t.Helper()
	cr, err := h.net.dial(fault{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cr.Close() })
	other := newPollCarrier(cr, knock{secret: p.secret, received: received})
	other.hold = hold
	return other
}

// wantReply polls, and compares the reply.
func (p *pollCarrier) wantReply(t *testing.T, first uint64, frames ...string) {
	t.Helper()
	p.frames = nil
	if err := p.poll(); err != nil {
		t.Fatal(err)
	}
	if p.next != first || strings.Join(p.frames, " ") != strings.Join(frames, " ") {
		t.Errorf("got the frames from %d on: %q, want those from %d: %q", p.next, p.frames, first, frames)
	}
}

func (p *pollCarrier) wantRefused(t *testing.T, status int, reason string) {
	t.Helper()
	err := p.poll()
	if refused, ok := errors.AsType[*refusal](err); !ok || refused.status != status || !strings.Contains(refused.body, reason) {
		t.Errorf("got %v, want %d %s", err, status, reason)
	}
}

func beat(sent int) string {
	return fmt.Sprintf(`[null,null,"chime","heartbeat",{"sent":%d,"received":0}]`, sent)
}

func TestAReplyIsGivenAgainUntilItIsAcknowledged(t *testing.T) {
	inHall(t, server.Config{Grace: server.NoGrace}, func(t *testing.T, h *hall) {
		p, a := poller(t, h)
		one, two := tell(t, a, 1), tell(t, a, 2)
		p.again(t, h, 0, "0").wantReply(t, 1, one, two)
		three := tell(t, a, 3)
		p.again(t, h, 0, "0").wantReply(t, 1, one, two, three)
		p.again(t, h, 1, "0").wantReply(t, 2, two, three)
		p.again(t, h, 3, "0").wantReply(t, 4, beat(3))
		// One that was on its way for long has nothing left to fetch, and takes nobody's place.
		p.again(t, h, 1, "0").wantReply(t, 2)
		p.again(t, h, 4, "0").wantRefused(t, 400, "more frames are acknowledged than were sent")
		p.again(t, h, 3, "0").wantReply(t, 4, beat(3))
		wantAlive(t, a)
	})
}

func TestAPollIsParkedUntilThereIsSomething(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		p, a := poller(t, h)
		for _, test := range []struct {
			hold string
			want time.Duration
		}{{"", 20 * time.Second}, {"60000", 20 * time.Second}, {"1500", 1500 * time.Millisecond}, {"0", 0}} {
			start := time.Now()
			p.again(t, h, 0, test.hold).wantReply(t, 1, beat(0))
			if took := time.Since(start); took != test.want {
				t.Errorf("hold %q: answered after %v, want %v", test.hold, took, test.want)
			}
		}
		start := time.Now()
		time.AfterFunc(3*time.Second, func() { tell(t, a, 1) })
		p.again(t, h, 0, "").wantReply(t, 1, `[null,null,"room:1","said",{"n":1}]`)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("a message was there after 3s, and the reply came after %v", took)
		}
		p.again(t, h, 0, "soon").wantRefused(t, 400, `Chime-Hold: \"soon\": want a number of milliseconds`)
	})
}

func TestOfTwoPollsTheLaterOneIsParked(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		p, a := poller(t, h)
		former, replied := p.again(t, h, 0, ""), make(chan struct{})
		go func() {
			defer close(replied)
			former.wantReply(t, 1) // nothing, at once
		}()
		synctest.Wait()
		start := time.Now()
		time.AfterFunc(time.Second, func() { tell(t, a, 1) })
		p.again(t, h, 0, "").wantReply(t, 1, `[null,null,"room:1","said",{"n":1}]`)
		<-replied
		if took := time.Since(start); took != time.Second {
			t.Errorf("the later poll was answered after %v, want 1s", took)
		}
	})
}

func TestAClientThatPollsNoMoreIsDetachedAndMayComeBack(t *testing.T) {
	inHall(t, server.Config{Grace: 15 * time.Second}, func(t *testing.T, h *hall) {
		p, a := poller(t, h)
		said := tell(t, a, 1)
		p.again(t, h, 0, "0").wantReply(t, 1, said)
		time.Sleep(34 * time.Second)
		p.again(t, h, 1, "0").wantReply(t, 2, beat(1)) // still the same connection
		time.Sleep(36 * time.Second)
		wantAlive(t, a)
		back := resume(t, h, knock{transport: transport.LongPoll, secret: p.secret, received: 1})
		if back.hello.Sent != 1 {
			t.Errorf("hello is %+v, want sent 1", back.hello)
		}
		two := tell(t, a, 2)
		back.polls.again(t, h, 1, "0").wantReply(t, 2, two) // promotes
		p.again(t, h, 1, "0").wantRefused(t, 410, "no such client socket")
		start := time.Now()
		wantClosed(t, a, start, 50*time.Second, transport.Vanished)
		back.polls.again(t, h, 2, "0").wantRefused(t, 410, "no such client socket")
	})
}

func TestARequestThatIsCutLeavesItsClientSocketAlone(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		p, a := poller(t, h)
		cut := p.again(t, h, 0, "")
		go func() { _ = cut.poll() }()
		synctest.Wait()
		cut.conn.kill()
		synctest.Wait()
		said := tell(t, a, 1)
		p.again(t, h, 0, "0").wantReply(t, 1, said)
		wantAlive(t, a)
	})
}

// What is queued when a client socket ends, and why it ends, waits for the next poll, but
// not for ever.
func TestTheEndWaitsForAPoll(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		const end = `[null,null,"chime","closed",{"code":1001,"reason":"out"}]`
		p, a := poller(t, h)
		said := tell(t, a, 1)
		h.server.Disconnect("", "out")
		time.Sleep(4 * time.Second)
		p.again(t, h, 0, "").wantReply(t, 1, said, end)
		p.again(t, h, 0, "").wantRefused(t, 410, "no such client socket")
		p, _ = poller(t, h)
		h.server.Disconnect("", "out")
		time.Sleep(6 * time.Second)
		p.again(t, h, 0, "").wantRefused(t, 410, "no such client socket")
		p, _ = poller(t, h)
		time.AfterFunc(time.Second, func() { h.server.Disconnect("", "out") })
		p.again(t, h, 0, "").wantReply(t, 1, end)
	})
}

// A poll with the secret of a connection that another has taken the place of is refused: so
// nothing waits for one.
func TestNobodyWaitsForAPollOfAFormerConnection(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		p, _ := poller(t, h)
		cr := resume(t, h, knock{transport: transport.SSE, secret: p.secret})
		cr.promote(t, h, 0)
		_ = cr.plug.Close() // nor for this one
		synctest.Wait()
		began := time.Now()
		if err := h.server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("Shutdown took %v, want no time", took)
		}
	})
}

// Nor with the secret of one that was opened and does not carry the client socket when it ends.
func TestNobodyWaitsForAPollOfAConnectionThatWasNotUsed(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		cr, _ := begin(t, h, knock{transport: transport.SSE})
		_ = resume(t, h, knock{transport: transport.LongPoll, secret: cr.hello.Secret})
		_ = cr.plug.Close()
		synctest.Wait()
		began := time.Now()
		if err := h.server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("Shutdown took %v, want no time", took)
		}
	})
}

func TestADrainIsToldInTheLastReply(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		p, _ := poller(t, h)
		time.AfterFunc(time.Second, func() { _ = h.server.Shutdown(context.Background()) })
		last := p.again(t, h, 0, "")
		if err := last.poll(); err != nil {
			t.Fatal(err)
		}
		if len(last.frames) != 2 || decodeChime(last.frames[0], wire.EventDrain, &struct{}{}) != nil ||
			last.frames[1] != `[null,null,"chime","closed",{"code":1012,"reason":"drain"}]` {
			t.Errorf("got %q, want a drain and the end", last.frames)
		}
		p.again(t, h, 0, "").wantRefused(t, 503, "shutting down")
	})
}

// Behind a Timeout middleware the client is still there when its request ends, and behind
// one that answers itself a poll has to be earlier.
func TestAMiddlewareWithATimeoutIsAnsweredBefore(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"http.TimeoutHandler": func(h http.Handler) http.Handler { return http.TimeoutHandler(h, 8*time.Second, "too late") },
		"a context": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
				defer cancel()
				h.ServeHTTP(w, r.WithContext(ctx))
			})
		},
		"a context that ends unseen": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithCancelCause(r.Context())
				time.AfterFunc(8*time.Second, func() { cancel(context.DeadlineExceeded) })
				h.ServeHTTP(w, r.WithContext(ctx))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHall(t, server.Config{}, func(t *testing.T, h *hall) {
				handler := wrap(http.HandlerFunc(h.server.ServePoll))
				ask := func(secret string) *polled {
					r := httptest.NewRequest(http.MethodGet, "/poll", nil)
					r.Header.Set("Chime-Received", "0")
					if secret != "" {
						r.Header.Set("Chime-Secret", secret)
					}
					w, reply := httptest.NewRecorder(), &polled{}
					handler.ServeHTTP(w, r)
					if err := json.Unmarshal(w.Body.Bytes(), reply); err != nil || w.Code != http.StatusOK {
						t.Fatalf("got %d %s", w.Code, w.Body)
					}
					return reply
				}
				secret := secretIn(string(ask("").Frames[0]))
				start := time.Now()
				if got := ask(secret); len(got.Frames) != 1 || string(got.Frames[0]) != beat(0) {
					t.Errorf("got %s, want a heartbeat", got.Frames)
				}
				if took := time.Since(start); took < 7*time.Second || took > 8*time.Second {
					t.Errorf("answered after %v, want between 7s and 8s", took)
				}
				wantAlive(t, <-h.apps)
			})
		})
	}
}

// A reply has as much as one write, and one message at least.
func TestAReplyIsBounded(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		p, a := poller(t, h)
		const all, size = 100, 10_000
		for n := range all {
			if err := a.send(push(room, n, size)); err != nil {
				t.Fatal(err)
			}
		}
		received, replies := 0, 0
		for ; received < all; replies++ {
			next := p.again(t, h, uint64(received), "0")
			if err := next.poll(); err != nil {
				t.Fatal(err)
			}
			if n := len(next.frames); n == 0 || n > 64<<10/size+1 {
				t.Fatalf("a reply of %d messages of %d bytes", n, size)
			}
			received += len(next.frames)
		}
		if want := 15; replies != want {
			t.Errorf("got %d replies, want %d", replies, want)
		}
	})
}

func TestNobodyWaitsForAPollAfterAGoodbye(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		p, a := poller(t, h)
		start := time.Now()
		if status, _, err := h.post("/bye", p.secret, "", p.secret, fault{}); status != 204 {
			t.Fatal(status, err)
		}
		if err := h.server.Shutdown(context.Background()); err != nil || time.Since(start) != 0 {
			t.Errorf("Shutdown took %v, want no time: %v", time.Since(start), err)
		}
		wantClosed(t, a, start, 0, transport.Closed)
	})
}

// A page that goes says goodbye while a poll of it is parked, and takes that along: whether
// the poll was answered in between is chance.
func TestAPollThatIsCutAtTheGoodbyeIsNotWaitedFor(t *testing.T) {
	for range 20 {
		inHall(t, server.Config{}, func(t *testing.T, h *hall) {
			p, a := poller(t, h)
			start := time.Now()
			ctx, cut := context.WithCancel(t.Context())
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/poll", nil)
			r.Header.Set("Chime-Secret", p.secret)
			r.Header.Set("Chime-Received", "0")
			go h.server.ServePoll(httptest.NewRecorder(), r)
			synctest.Wait()
			h.server.ServeBye(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/bye", strings.NewReader(p.secret)))
			cut()
			if err := h.server.Shutdown(context.Background()); err != nil || time.Since(start) != 0 {
				t.Errorf("Shutdown took %v, want no time: %v", time.Since(start), err)
			}
			wantClosed(t, a, start, 0, transport.Closed)
		})
	}
}
