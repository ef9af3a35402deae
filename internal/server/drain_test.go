package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// nextServer is the one that they come back to.
func nextServer(t *testing.T) *site {
	t.Helper()
	s, err := server.New(server.Config{
		Connect: func(*http.Request) (transport.Identity, error) { return transport.Identity{}, nil },
		Accept:  func(transport.ClientSocket) transport.Receiver { return deaf{} },
		Drain:   server.AtOnce,
	})
	if err != nil {
		t.Fatal(err)
	}
	at := serve(t, network{pipes: true}, handlerOf(s))
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return at
}

type deaf struct{}

func (deaf) Receive(wire.Frame)                   {}
func (deaf) Finish(time.Duration) <-chan struct{} { return nil }
func (deaf) Closed(transport.Reason)              {}

// drained begins the drain of ten clients, of which every second is a stream with
// POSTs, and returns when each has ended, in the order of their ends.
func drained(t *testing.T, b *bubble, ctx context.Context) (ends []time.Duration, posts []bool) {
	t.Helper()
	type end struct {
		at    time.Duration
		posts bool
	}
	begun, got := time.Now(), make(chan end)
	for i := range 10 {
		kind := carriers[i%2*2] // a WebSocket and a stream, both of the chime dialect
		l, err := kind.open(b.site)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				if _, err := l.text(); err != nil {
					break
				}
			}
			got <- end{time.Since(begun), !isSocket(l)}
			l.Vanish()
		}()
	}
	synctest.Wait()
	begun = time.Now()
	done := make(chan error, 1)
	go func() { done <- b.server.Shutdown(ctx) }()
	for range 10 {
		e := <-got
		ends, posts = append(ends, e.at), append(posts, e.posts)
	}
	if err := <-done; err != nil && ctx.Err() == nil {
		t.Errorf("Shutdown: got %v, want nil", err)
	}
	return ends, posts
}

// Who posts comes first: the listener of a server that shuts down may be closed.
func TestTheWindowOfADrain(t *testing.T) {
	ms := time.Millisecond
	for _, tt := range []struct {
		name   string
		window time.Duration
		within time.Duration // of the context; 0: it has no end
		gap    time.Duration
	}{
		{"is short for few", 0, 0, 10 * ms},
		{"is what is configured", 50 * ms, 0, 5 * ms},
		{"is half of the context", 0, 40 * ms, 2 * ms},
		{"is none", server.AtOnce, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, network{}, server.Config{Drain: tt.window}, nil, func(t *testing.T, b *bubble) {
				ctx := context.Background()
				if tt.within > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.within)
					defer cancel()
				}
				ends, posts := drained(t, b, ctx)
				for i, at := range ends {
					if want := time.Duration(i) * tt.gap; at != want {
						t.Fatalf("ends: got %v, want one each %v", ends, tt.gap)
					}
				}
				if want := []bool{true, true, true, true, true, false, false, false, false, false}; tt.gap > 0 && !slices.Equal(posts, want) {
					t.Errorf("with POSTs: got %v, want %v", posts, want)
				}
			})
		})
	}
}

func TestADrainWhoseContextEndsEndsAllAtOnce(t *testing.T) {
	inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(25*time.Millisecond, cancel)
		ends, _ := drained(t, b, ctx)
		var want []time.Duration
		for _, ms := range []int{0, 10, 20, 25, 25, 25, 25, 25, 25, 25} {
			want = append(want, time.Duration(ms)*time.Millisecond)
		}
		if !slices.Equal(ends, want) {
			t.Errorf("got %v, want %v", ends, want)
		}
	})
}

// Nobody comes in while others wait for their turn, whoever it is; those who wait can
// still speak.
func TestWhoComesDuringADrainIsAskedToComeBack(t *testing.T) {
	inBubble(t, network{}, server.Config{Grace: time.Minute}, nil, func(t *testing.T, b *bubble) {
		first, err := b.half()
		if err != nil {
			t.Fatal(err)
		}
		defer first.Vanish()
		<-b.clients // before the next is there: hello does not wait for Accept
		last, err := b.half()
		if err != nil {
			t.Fatal(err)
		}
		defer last.Vanish()
		<-b.clients
		away, err := b.half()
		if err != nil {
			t.Fatal(err)
		}
		if err := away.Send(`[null,"1","room:1","hello",{}]`); err != nil { // else there is nothing to come back for
			t.Fatal(err)
		}
		away.Vanish()
		synctest.Wait()
		detached := <-b.clients
		begun := time.Now()
		done := make(chan error, 1)
		go func() { done <- b.server.Shutdown(context.Background()) }()
		defer func() { <-done }() //nolint:errcheck // none is wanted
		synctest.Wait()           // one has ended; the next is due in 10 ms
		if d := <-detached.closed; d.why != transport.Drained || !d.at.Equal(begun) {
			t.Errorf("the client without a connection: got %v after %v, want drained at once", d.why, d.at.Sub(begun))
		}
		for _, test := range []struct {
			target, header string
			status         int
			again          bool
			body           string
		}{
			{"/sse", "Chime-Received: 0", 503, true, `{"reason":"shutting down"}` + "\n"},
			{"/sse", "Chime-Secret: " + last.secret, 503, true, `{"reason":"shutting down"}` + "\n"}, // a resume
			{"/sse?join=room:1", "Accept: text/event-stream", 200, false, "retry: "},
		} {
			es := &stream{site: b.site}
			es.client = &http.Client{Transport: &http.Transport{DialContext: es.dial}}
			es.cancel = func() {}
			res, err := es.request(context.Background(), http.MethodGet, test.target, "", test.header)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			es.Vanish()
			after, _ := strconv.Atoi(res.Header.Get("Retry-After"))
			if err != nil || res.StatusCode != test.status || (after >= 2 && after <= 6) != test.again || !strings.HasPrefix(string(body), test.body) {
				t.Errorf("%s with %s: got %s, Retry-After %q, %q and error %v, want %d, 2 to 6 s %t, %q", test.target, test.header, res.Status, res.Header.Get("Retry-After"), body, err, test.status, test.again, test.body)
			}
			if rest, ok := strings.CutPrefix(string(body), "retry: "); ok {
				if ms, err := strconv.Atoi(strings.TrimSpace(rest)); err != nil || ms < 2000 || ms >= 6000 {
					t.Errorf("retry: got %q, want 2000 to 6000", rest)
				}
			}
		}
		if _, err := b.chime(); err == nil || err.Error() != "503 Service Unavailable" {
			t.Errorf("upgrade while draining: got %v, want 503", err)
		}
		var answers []string
		for _, es := range []*stream{first, last} {
			answers = append(answers, fmt.Sprint(es.Send(`[null,"1","room:1","hello",{}]`)))
		}
		slices.Sort(answers)
		if want := []string{"<nil>", `POST: 503 {"reason":"shutting down"}`}; !slices.Equal(answers, want) {
			t.Errorf("POSTs of one whose turn it is, and of one who still waits: got %q, want %q", answers, want)
		}
	})
}

// Each client is told a time of its own to come back, of between 2 and 6 seconds: those
// whose connections end together must not return together.
func TestEachClientOfADrainIsToldATimeOfItsOwn(t *testing.T) {
	inBubble(t, network{}, server.Config{Drain: server.AtOnce}, nil, func(t *testing.T, b *bubble) {
		const clients = 10
		heard := make(chan int, clients)
		for range clients {
			l, err := carriers[0].open(b.site)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				defer l.Vanish()
				for {
					text, err := l.text()
					if err != nil {
						heard <- 0
						return
					}
					if _, rest, ok := strings.Cut(text, `"drain",{"retry_ms":`); ok {
						text, _, _ := strings.Cut(rest, ",")
						ms, _ := strconv.Atoi(text)
						heard <- ms
						return
					}
				}
			}()
		}
		synctest.Wait()
		if err := b.server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		times := map[int]bool{}
		for range clients {
			ms := <-heard
			if ms < 2000 || ms >= 6000 {
				t.Errorf("got a time of %d ms, want 2000 to 5999", ms)
			}
			times[ms] = true
		}
		if len(times) < clients/2 {
			t.Errorf("got the times %v for %d clients, want one for nearly each", times, clients)
		}
	})
}
