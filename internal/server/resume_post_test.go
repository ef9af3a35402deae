package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// numbered is a POST of the frames first to last, whose payloads are their numbers.
type numbered struct {
	first, last uint64
	times       int   // it is delivered so often at once; 0 is once
	fate        fault // of its connection
	status      int   // 0 is none
	answer      string
}

// What becomes of a POST. Its head has some 140 bytes, its body more than 100.
var (
	noRequest   = fault{Up: 10}
	halfRequest = fault{Up: 200}
	noAnswer    = fault{Down: 5}
)

func numbers(first, last uint64) []string {
	var list []string
	for i := first; i <= last; i++ {
		list = append(list, fmt.Sprintf(`{"n":%d}`, i))
	}
	return list
}

func (n numbered) body(received uint64) string {
	var frames []string
	for _, payload := range numbers(n.first, n.last) {
		frames = append(frames, `["1",null,"room:1","say",`+payload+`]`)
	}
	return batch(n.first, received, frames...)
}

// postStates are what a client socket may be in when a POST comes, and with
// which secret it comes. Each server has said one thing, and nobody has
// acknowledged it.
var postStates = []struct {
	name  string
	enter func(*testing.T, *hall, *carrier) (secret string)
}{
	{"on the connection", func(_ *testing.T, _ *hall, cr *carrier) string { return cr.hello.Secret }},
	{"detached", func(_ *testing.T, _ *hall, cr *carrier) string {
		cr.plug.kill()
		return cr.hello.Secret
	}},
	{"beside candidates", func(t *testing.T, h *hall, cr *carrier) string {
		for _, kind := range bothTransports {
			resume(t, h, knock{transport: kind, secret: cr.hello.Secret, received: 1})
		}
		return cr.hello.Secret
	}},
	{"as the promotion of a candidate", func(t *testing.T, h *hall, cr *carrier) string {
		return resume(t, h, knock{transport: transport.SSE, secret: cr.hello.Secret, received: 1}).hello.Secret
	}},
	{"as the promotion of a candidate that broke", func(t *testing.T, h *hall, cr *carrier) string {
		next := resume(t, h, knock{transport: transport.SSE, secret: cr.hello.Secret, received: 1})
		next.plug.kill()
		return next.hello.Secret
	}},
}

func TestAPostIsAppliedOnceWhateverBecomesOfIt(t *testing.T) {
	const ok2, ok4 = `{"applied":2,"sent":1}`, `{"applied":4,"sent":1}`
	for _, test := range []struct {
		name  string
		posts []numbered
	}{
		{"its answer is lost", []numbered{
			{first: 1, last: 2, fate: noAnswer},
			{first: 1, last: 2, status: 200, answer: ok2},
		}},
		{"its answer is lost, and by then there is more", []numbered{
			{first: 1, last: 2, fate: noAnswer},
			{first: 1, last: 4, status: 200, answer: ok4},
		}},
		{"it is lost", []numbered{
			{first: 1, last: 2, fate: noRequest},
			{first: 1, last: 2, status: 200, answer: ok2},
		}},
		{"half of it is lost", []numbered{
			{first: 1, last: 2, fate: halfRequest},
			{first: 1, last: 2, status: 200, answer: ok2},
		}},
		{"a proxy tries it again", []numbered{
			{first: 1, last: 2, status: 200, answer: ok2},
			{first: 1, last: 2, status: 200, answer: ok2},
		}},
		{"a proxy tries it again after the next", []numbered{
			{first: 1, last: 2, status: 200, answer: ok2},
			{first: 3, last: 4, status: 200, answer: ok4},
			{first: 1, last: 2, status: 200, answer: ok4},
		}},
		{"it is delivered twice at once", []numbered{
			{first: 1, last: 2, times: 2, status: 200, answer: ok2},
			{first: 3, last: 4, times: 2, status: 200, answer: ok4},
		}},
		{"it is delivered many times at once", []numbered{
			{first: 1, last: 4, times: 20, status: 200, answer: ok4},
		}},
		{"it comes after the next", []numbered{
			{first: 3, last: 4, status: 409, answer: `{"want":1}`},
			{first: 1, last: 2, status: 200, answer: ok2},
			{first: 3, last: 4, status: 200, answer: ok4},
		}},
		{"a part of it has been applied", []numbered{
			{first: 1, last: 2, status: 200, answer: ok2},
			{first: 2, last: 4, status: 200, answer: ok4},
		}},
	} {
		for _, state := range postStates {
			t.Run(test.name+"/"+state.name, func(t *testing.T) {
				inHall(t, server.Config{}, func(t *testing.T, h *hall) {
					cr := open(t, h, knock{transport: transport.SSE})
					a := <-h.apps
					cr.want(t, tell(t, a, 1))
					secret := state.enter(t, h, cr)
					last := uint64(0)
					for _, p := range test.posts {
						deliver(t, h, secret, p)
						if p.status == 200 {
							last = max(last, p.last)
						}
					}
					wantHeard(t, a, numbers(1, last)...)
					wantAlive(t, a)
				})
			})
		}
	}
}

// deliver sends a POST, as often as it says, and checks each answer.
func deliver(t *testing.T, h *hall, secret string, p numbered) {
	t.Helper()
	var sending sync.WaitGroup
	var refused atomic.Int32
	defer func() {
		if n := int(refused.Load()); n > 0 && n >= p.times {
			t.Errorf("POST of %d to %d: all %d were refused since another is under way", p.first, p.last, n)
		}
	}()
	for range max(p.times, 1) {
		sending.Go(func() {
			status, answer, err := h.post("/sse", secret, "", p.body(1), p.fate)
			if p.times > 1 && status == http.StatusTooManyRequests {
				refused.Add(1)
				return
			}
			if status != p.status || answer != p.answer || (err != nil) != (p.status == 0) {
				t.Errorf("POST of %d to %d: got %d %s and error %v, want %d %s", p.first, p.last, status, answer, err, p.status, p.answer)
			}
		})
	}
	sending.Wait()
	synctest.Wait()
}

// What the POST that promotes has not received comes down its stream.
func TestTheFirstPostWithItsSecretPromotesAStream(t *testing.T) {
	onBoth(t, server.Config{}, func(t *testing.T, h *hall, from string) {
		cr, a := begin(t, h, knock{transport: from})
		missed := []string{tell(t, a, 2), tell(t, a, 3)}
		next := resume(t, h, knock{transport: transport.SSE, secret: cr.hello.Secret, received: 1})
		wantPost(t, h, next.hello.Secret, numbered{first: 2, last: 3}.body(1), 200, `{"applied":3,"sent":3}`)
		cr.want(t, missed...)
		cr.wantMoved(t)
		for i, want := range missed {
			number, text, err := next.read()
			if number != uint64(i)+2 || text != want {
				t.Errorf("got number %d, %s and error %v, want number %d, %s", number, text, err, i+2, want)
			}
		}
		wantHeard(t, a, numbers(1, 3)...)
		// Delivered again, it moves nothing back.
		wantPost(t, h, next.hello.Secret, numbered{first: 2, last: 3}.body(1), 200, `{"applied":3,"sent":3}`)
		next.want(t, tell(t, a, 4))
		wantAlive(t, a)
	})
}

func TestWhichSecretsAPostMayHave(t *testing.T) {
	const ok = `{"applied":1,"sent":1}`
	mallory := `{"reason":"this client socket belongs to another identity"}`
	for _, test := range []struct {
		name   string
		from   string
		choose func(*testing.T, *hall, *carrier) (secret, as string)
		status int
		answer string
	}{
		{"none", transport.SSE, func(*testing.T, *hall, *carrier) (string, string) { return "", "" }, 400, `{"frame":0,"reason":"no Chime-Secret header"}`},
		{"a wrong one", transport.SSE, func(_ *testing.T, _ *hall, cr *carrier) (string, string) {
			return strings.Repeat("A", len(cr.hello.Secret)), ""
		}, 410, unknown},
		{"the stream's", transport.SSE, func(_ *testing.T, _ *hall, cr *carrier) (string, string) { return cr.hello.Secret, "" }, 200, ok},
		{"of another identity", transport.SSE, func(_ *testing.T, _ *hall, cr *carrier) (string, string) { return cr.hello.Secret, "mallory" }, 403, mallory},
		{"a WebSocket's", transport.WebSocket, func(_ *testing.T, _ *hall, cr *carrier) (string, string) { return cr.hello.Secret, "" }, 410, unknown},
		{"a candidate's, which is a WebSocket", transport.SSE, func(t *testing.T, h *hall, cr *carrier) (string, string) {
			return resume(t, h, knock{transport: transport.WebSocket, secret: cr.hello.Secret}).hello.Secret, ""
		}, 410, unknown},
		{"a candidate's, which is a stream", transport.WebSocket, func(t *testing.T, h *hall, cr *carrier) (string, string) {
			return resume(t, h, knock{transport: transport.SSE, secret: cr.hello.Secret, received: 1}).hello.Secret, ""
		}, 200, ok},
		{"a candidate's, of another identity", transport.WebSocket, func(t *testing.T, h *hall, cr *carrier) (string, string) {
			return resume(t, h, knock{transport: transport.SSE, secret: cr.hello.Secret, received: 1}).hello.Secret, "mallory"
		}, 403, mallory},
		{"the former, while the new one is not used", transport.SSE, func(t *testing.T, h *hall, cr *carrier) (string, string) {
			resume(t, h, knock{transport: transport.SSE, secret: cr.hello.Secret, received: 1})
			return cr.hello.Secret, ""
		}, 200, ok},
		{"the former, once the new one was used", transport.SSE, func(t *testing.T, h *hall, cr *carrier) (string, string) {
			resume(t, h, knock{transport: transport.SSE, secret: cr.hello.Secret, received: 1}).promote(t, h, 1)
			return cr.hello.Secret, ""
		}, 410, unknown},
		{"the former, once a WebSocket has taken over", transport.SSE, func(t *testing.T, h *hall, cr *carrier) (string, string) {
			resume(t, h, knock{transport: transport.WebSocket, secret: cr.hello.Secret}).promote(t, h, 1)
			return cr.hello.Secret, ""
		}, 410, unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			inHall(t, server.Config{}, func(t *testing.T, h *hall) {
				cr, a := begin(t, h, knock{transport: test.from})
				secret, as := test.choose(t, h, cr)
				status, answer, err := h.post("/sse", secret, as, batch(2, 1), fault{})
				if status != test.status || answer != test.answer {
					t.Errorf("got %d %s and error %v, want %d %s", status, answer, err, test.status, test.answer)
				}
				wantAlive(t, a)
			})
		})
	}
}

func TestAPostThatAcknowledgesWhatWasNotSentIsRefusedWhole(t *testing.T) {
	for _, state := range postStates {
		t.Run(state.name, func(t *testing.T) {
			inHall(t, server.Config{}, func(t *testing.T, h *hall) {
				cr := open(t, h, knock{transport: transport.SSE})
				a := <-h.apps
				cr.want(t, tell(t, a, 1))
				secret := state.enter(t, h, cr)
				p := numbered{first: 1, last: 2}
				status, answer, err := h.post("/sse", secret, "", p.body(2), fault{})
				if status != 400 || !strings.HasPrefix(answer, `{"frame":0,"reason":`) {
					t.Errorf("got %d %s and error %v, want 400 with frame 0", status, answer, err)
				}
				wantHeard(t, a)
				wantAlive(t, a)
				wantPost(t, h, secret, p.body(1), 200, `{"applied":2,"sent":1}`)
			})
		})
	}
}
