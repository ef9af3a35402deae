package server_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// What tests do with carriers by hand: no word goes out that they do not say.

var (
	everyTransport = []string{transport.WebSocket, transport.SSE, transport.LongPoll}
	// bothTransports are those whose connections the server sees break, and whose clients
	// read of the end of a connection that carries nothing.
	bothTransports = []string{transport.WebSocket, transport.SSE}
)

// onBoth runs a test on both transports.
func onBoth(t *testing.T, cfg server.Config, run func(t *testing.T, h *hall, kind string)) {
	t.Helper()
	for _, kind := range bothTransports {
		t.Run(kind, func(t *testing.T) {
			inHall(t, cfg, func(t *testing.T, h *hall) { run(t, h, kind) })
		})
	}
}

// onEvery runs a test on each transport.
func onEvery(t *testing.T, cfg server.Config, run func(t *testing.T, h *hall, kind string)) {
	t.Helper()
	for _, kind := range everyTransport {
		t.Run(kind, func(t *testing.T) {
			inHall(t, cfg, func(t *testing.T, h *hall) { run(t, h, kind) })
		})
	}
}

// onEachPair runs a test for each transport that a client socket can begin with, and
// each that it can go on with.
func onEachPair(t *testing.T, cfg server.Config, run func(t *testing.T, h *hall, from, to string)) {
	t.Helper()
	onPairs(t, cfg, everyTransport, everyTransport, run)
}

// onPairs is onEachPair on some transports.
func onPairs(t *testing.T, cfg server.Config, froms, tos []string, run func(t *testing.T, h *hall, from, to string)) {
	t.Helper()
	for _, from := range froms {
		for _, to := range tos {
			if from == to && from == transport.LongPoll {
				continue // its polls go on with the secret that they have
			}
			t.Run(from+"-"+to, func(t *testing.T) {
				inHall(t, cfg, func(t *testing.T, h *hall) { run(t, h, from, to) })
			})
		}
	}
}

// open is hall.open for a client that must be let in.
func open(t *testing.T, h *hall, k knock) *carrier {
	t.Helper()
	cr := mustOpen(t, h, k)
	t.Cleanup(func() { _ = cr.plug.Close() })
	return cr
}

// resume opens a connection for a client socket that must live.
func resume(t *testing.T, h *hall, k knock) *carrier {
	t.Helper()
	cr := open(t, h, k)
	if !cr.hello.Resumed {
		t.Fatalf("%s: hello has resumed false, want true", k.transport)
	}
	return cr
}

// begin opens a client socket, on which each side has said something.
func begin(t *testing.T, h *hall, k knock) (*carrier, *app) {
	t.Helper()
	cr := open(t, h, k)
	a := <-h.apps
	cr.push(t, h, 1, `{"n":1}`)
	cr.want(t, tell(t, a, 1))
	return cr, a
}

// push sends a frame, which has a number on a stream.
func (cr *carrier) push(t *testing.T, h *hall, number uint64, payload string) {
	t.Helper()
	text := `["1",null,"room:1","say",` + payload + `]`
	if cr.ws != nil {
		cr.write(t, text)
		synctest.Wait()
		return
	}
	if status, answer, err := h.post("/sse", cr.hello.Secret, "", batch(number, 0, text), fault{}); status != 200 {
		t.Fatalf("POST: %d %s %v, want 200", status, answer, err)
	}
}

// write sends a text on a WebSocket.
func (cr *carrier) write(t *testing.T, text string) {
	t.Helper()
	if err := cr.ws.write(fin|opText, text); err != nil {
		t.Fatal(err)
	}
}

// promote makes cr the connection, with n frames received.
func (cr *carrier) promote(t *testing.T, h *hall, n uint64) {
	t.Helper()
	if cr.polls != nil {
		cr.polls.received = n
	}
	if cr.ws != nil {
		cr.write(t, ack(n))
		synctest.Wait()
		return
	}
	if status, answer, err := h.post("/sse", cr.hello.Secret, "", batch(cr.hello.Received+1, n), fault{}); status != 200 {
		t.Fatalf("the POST that promotes: %d %s %v, want 200", status, answer, err)
	}
}

// want reads what must come next, heartbeats aside.
func (cr *carrier) want(t *testing.T, want ...string) {
	t.Helper()
	for _, want := range want {
		text, err := cr.readPastHeartbeats()
		if err != nil || text != want {
			t.Fatalf("%s: got %s and error %v, want %s", cr.transport, text, err, want)
		}
	}
}

// wantEnd reads what the server says when it ends the client socket, after what else
// is there: on a WebSocket in a frame, too.
func (cr *carrier) wantEnd(t *testing.T, code wire.CloseCode, reason string) {
	t.Helper()
	cr.wantClose(t, code, reason)
	if cr.ws != nil && cr.ws.said == nil {
		t.Errorf("it is closed with %d %q, and no frame has said so", code, reason)
	}
}

// wantClose is wantEnd for the end of a connection alone.
func (cr *carrier) wantClose(t *testing.T, code wire.CloseCode, reason string) {
	t.Helper()
	for {
		text, err := cr.readPastHeartbeats()
		if err == nil {
			continue
		}
		if refused, ok := errors.AsType[*refusal](err); ok && cr.polls != nil && code == wire.CloseReplaced && refused.status == http.StatusGone {
			return
		}
		end, ok := errors.AsType[*End](err)
		if !ok || end.Code != int(code) || reason != "" && end.Reason != reason {
			t.Fatalf("%s: got %s and error %v, want the end with %d %q", cr.transport, text, err, code, reason)
		}
		if cr.ws != nil {
			if cr.ws.said != nil && code == wire.CloseReplaced {
				t.Errorf("a frame has said %v, and the client socket goes on", cr.ws.said)
			}
			_ = cr.ws.write(fin|opClose, "")
		}
		return
	}
}

// wantMoved reads how a connection ends that another has taken the place of.
func (cr *carrier) wantMoved(t *testing.T) {
	t.Helper()
	if cr.polls != nil {
		cr.polls.wantRefused(t, http.StatusGone, "no such client socket")
		return
	}
	cr.want(t, `[null,null,"chime","moved",{}]`)
	cr.wantClose(t, wire.CloseReplaced, "moved")
}

// readPastHeartbeats reads the next frame that is none.
func (cr *carrier) readPastHeartbeats() (string, error) {
	const soon = 10 * time.Minute // of a bubble
	_ = cr.plug.SetReadDeadline(time.Now().Add(soon))
	for {
		_, text, err := cr.read()
		if err != nil || decodeChime(text, wire.EventHeartbeat, &struct{}{}) != nil {
			return text, err
		}
	}
}

// tell has the application say a number, and returns how that looks.
func tell(t *testing.T, a *app, n int) string {
	t.Helper()
	text, err := a.say(n)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	return text
}

// wantHeard checks all that the application has heard.
func wantHeard(t *testing.T, a *app, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := a.heard(); !slices.Equal(got, want) {
		t.Errorf("the server heard %q, want %q", got, want)
	}
}

// wantAlive checks that the application was not told of an end.
func wantAlive(t *testing.T, a *app) {
	t.Helper()
	synctest.Wait()
	if len(a.closed) > 0 {
		t.Fatalf("got Closed(%s) of a client socket that should live", (<-a.closed).why)
	}
}

// wantClosed checks that the application is told of the end once, why and when.
func wantClosed(t *testing.T, a *app, start time.Time, after time.Duration, why transport.Reason) {
	t.Helper()
	var got departure
	select {
	case got = <-a.closed:
	case <-time.After(10 * time.Minute):
		t.Fatalf("Closed was not called, want Closed(%s)", why)
	}
	if at := got.at.Sub(start); got.why != why || at != after {
		t.Errorf("Closed(%s) after %v, want Closed(%s) after %v", got.why, at, why, after)
	}
	time.Sleep(5 * time.Minute) // longer than any grace
	synctest.Wait()
	if len(a.closed) > 0 {
		t.Errorf("Closed was called again: %s", (<-a.closed).why)
	}
}

// wantPost checks the exact answer to a POST.
func wantPost(t *testing.T, h *hall, secret, body string, status int, answer string) {
	t.Helper()
	gotStatus, got, err := h.post("/sse", secret, "", body, fault{})
	if err != nil || gotStatus != status || got != answer {
		t.Errorf("POST %s: got %d %s and error %v, want %d %s", body, gotStatus, got, err, status, answer)
	}
}

const unknown = `{"reason":"no such client socket"}`

// wantDead checks that nobody can go on with a secret.
func wantDead(t *testing.T, h *hall, secret string) {
	t.Helper()
	wantPost(t, h, secret, batch(1, 0), 410, unknown)
	for _, kind := range bothTransports {
		if cr := open(t, h, knock{transport: kind, secret: secret}); cr.hello.Resumed || cr.hello.Received != 0 || cr.hello.Sent != 0 {
			t.Fatalf("%s: hello is %+v, want that of a new client socket", kind, cr.hello)
		}
		<-h.apps
	}
}
