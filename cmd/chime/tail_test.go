package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/need"
)

// tailing is a running tail.
type tailing struct {
	lines, notes chan string
	stop         context.CancelFunc
	ended        chan error
}

// lineWriter sends each write, less its line end, to a channel.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- strings.TrimSuffix(string(p), "\n")
	return len(p), nil
}

// startTail follows t:1 of a script.
func startTail(t *testing.T, mount string) *tailing {
	t.Helper()
	return startTailOf(t, mount, "t:1")
}

// startTailOf follows a topic with pauses of a millisecond.
func startTailOf(t *testing.T, mount, topic string) *tailing {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return startTailVia(t, mount, topic, transport)
}

// startTailVia is startTailOf with a network of its own.
func startTailVia(t *testing.T, mount, topic string, via http.RoundTripper) *tailing {
	t.Helper()
	url, err := streamURL(mount, topic)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	tl := &tailing{lines: make(chan string, 100), notes: make(chan string, 100), stop: stop, ended: make(chan error, 1)}
	f := &follower{
		mount:     mount,
		url:       url,
		topic:     topic,
		transport: via,
		firstWait: time.Millisecond,
		print: func(fr frame) error {
			if !strings.Contains(string(fr.raw), `"presence_`) { // which comes whenever it likes
				tl.lines <- string(fr.raw)
			}
			return nil
		},
		note: func(what string) { tl.notes <- what },
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tl.ended <- f.follow(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
	return tl
}

func (tl *tailing) wantLines(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := receive(t, tl.lines); !strings.Contains(got, w) {
			t.Errorf("line: got %s, want one with %s", got, w)
		}
	}
}

func (tl *tailing) wantNote(t *testing.T, want string) {
	t.Helper()
	if got := receive(t, tl.notes); !strings.Contains(got, want) {
		t.Errorf("note: got %q, want one with %q", got, want)
	}
}

// wantNoMore asks the tail to end, which is no error, and that it printed
// nothing that the test did not expect.
func (tl *tailing) wantNoMore(t *testing.T) {
	t.Helper()
	tl.stop()
	if err := receive(t, tl.ended); err != nil {
		t.Errorf("end: got %v, want nil", err)
	}
	select {
	case got := <-tl.lines:
		t.Errorf("got one line more: %s", got)
	default:
	}
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came in 20 s")
	}
	return v
}

func TestTailComesBackWhereItWas(t *testing.T) {
	s := play(t,
		stream(joinOK+one),
		status(http.StatusServiceUnavailable, "", "Retry-After", "0"),
		streamAndStay(joinOK+two))
	tl := startTail(t, s.URL)
	tl.wantLines(t, `{"n":1}`, `{"n":2}`)
	for i, want := range []string{"", "e:1", "e:1"} {
		r := receive(t, s.seen)
		if got := r.Header.Get("Last-Event-ID"); got != want {
			t.Errorf("connection %d: got Last-Event-ID %q, want %q", i+1, got, want)
		}
		if got := r.URL.String(); got != "/sse?join=t%3A1" {
			t.Errorf("connection %d: got %s, want /sse?join=t%%3A1", i+1, got)
		}
	}
	tl.wantNote(t, "joined t:1")
	tl.wantNote(t, "the stream ended; again in")
	tl.wantNote(t, "503")
	tl.wantNote(t, "joined t:1")
	tl.wantNoMore(t)
}

// What is cut off in mid-event comes again; its id must not count, nor may half
// of an id be sent back.
func TestTailLeavesATornEventAlone(t *testing.T) {
	for cut := 1; cut < len(two); cut++ {
		s := play(t, stream(joinOK+one+two[:cut]), streamAndStay(joinOK+two))
		tl := startTail(t, s.URL)
		tl.wantLines(t, `{"n":1}`, `{"n":2}`)
		receive(t, s.seen)
		if got := receive(t, s.seen).Header.Get("Last-Event-ID"); got != "e:1" {
			t.Errorf("cut after %q: got Last-Event-ID %q, want e:1", two[:cut], got)
		}
		tl.wantNoMore(t)
		s.CloseClientConnections()
	}
}

func TestTailComesBackWhenItMay(t *testing.T) {
	tests := []struct {
		name, note string
		act        act
	}{
		{"the channel failed", "the channel failed: channel_crash", stream(joinOK + `data: ["1","1","t:1","phx_error",{"reason":"channel_crash"}]` + "\n\n")},
		{"closed", "the server closed the stream: bye", stream(joinOK + `data: [null,null,"chime","closed",{"code":1001,"reason":"bye"}]` + "\n\n")},
		{"drained", "the stream ended; again in", stream(joinOK + `data: [null,null,"chime","drain",{"retry_ms":1}]` + "\n\n")},
		{"busy", "the stream ended; again in", stream("retry: 1\n\n")},
		{"a proxy's server is away", "502 Bad Gateway", status(http.StatusBadGateway, "<html>")},
		{"cut", "again in", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := play(t, tt.act, streamAndStay(joinOK+one))
			tl := startTail(t, s.URL)
			note := receive(t, tl.notes)
			if strings.HasPrefix(note, "joined") {
				note = receive(t, tl.notes)
			}
			if !strings.Contains(note, tt.note) {
				t.Errorf("note: got %q, want one with %q", note, tt.note)
			}
			tl.wantLines(t, `{"n":1}`)
			tl.wantNoMore(t)
		})
	}
}

func TestTailGivesUpWhenAskingAgainWouldNotHelp(t *testing.T) {
	tests := []struct {
		name, want string
		act        act
	}{
		{"join refused", "join of t:1: refused: members only", stream(`data: ["1","1","t:1","phx_reply",{"status":"error","response":{"reason":"members only"}}]` + "\n\n")},
		{"refused", "403 Forbidden: not from there", status(http.StatusForbidden, `{"reason":"not from there"}`)},
		{"no router", "404 Not Found: 404 page not found: want the URL at which a router is mounted", status(http.StatusNotFound, "404 page not found\n")},
		{"a web page", "want an event stream", status(http.StatusOK, "<html>", "Content-Type", "text/html")},
		{"another stream", "something else than chime frames", stream("data: hello\n\n")},
		{"stay away", "refuses this client: expelled", stream(joinOK + `data: [null,null,"chime","closed",{"code":4003,"reason":"expelled"}]` + "\n\n")},
		{"closed", "closed t:1", stream(joinOK + `data: ["1","1","t:1","phx_close",{}]` + "\n\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := startTail(t, play(t, tt.act).URL)
			err := receive(t, tl.ended)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// network is what a request meets on its way.
type network func(r *http.Request) (*http.Response, error)

func (n network) RoundTrip(r *http.Request) (*http.Response, error) { return n(r) }

// unknownHost is the error of a name that nobody has.
func unknownHost(r *http.Request) (*http.Response, error) {
	return nil, &net.DNSError{Err: "no such host", Name: r.URL.Host, IsNotFound: true}
}

// What is wrong with the address itself is so the next time, too.
func TestTailGivesUpWhereItCanNeverHaveBeen(t *testing.T) {
	plain := play(t)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it says what this test does to it
	secure.StartTLS()
	t.Cleanup(secure.Close)
	https := strings.Replace(plain.URL, "http", "https", 1)
	for _, tt := range []struct {
		name, mount string
		want        []string
		via         http.RoundTripper
	}{
		{"plain http", https, []string{"HTTP response to HTTPS client", "want http://"}, &http.Transport{}},
		{"not our certificate", secure.URL, []string{"x509", "trusts"}, &http.Transport{}},
		{"unknown host", "http://nowhere/socket", []string{"no such host"}, network(unknownHost)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tl := startTailVia(t, tt.mount, "t:1", tt.via)
			err := receive(t, tl.ended)
			for _, want := range append(tt.want, "--url "+tt.mount) {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want an error with %q", err, want)
				}
			}
		})
	}
}

// A server that is about to start, or a name that is gone for a moment, is asked
// again.
func TestTailGoesOnWhereItHasBeen(t *testing.T) {
	s := play(t, stream(joinOK+one), streamAndStay(joinOK+two))
	tries := 0
	tl := startTailVia(t, s.URL, "t:1", network(func(r *http.Request) (*http.Response, error) {
		switch tries++; tries {
		case 1:
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		case 3:
			return unknownHost(r)
		}
		return http.DefaultTransport.RoundTrip(r)
	}))
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	tl.wantNote(t, "connection refused; again in")
	tl.wantLines(t, `{"n":1}`, `{"n":2}`)
	tl.wantNote(t, "joined")
	tl.wantNote(t, "the stream ended")
	tl.wantNote(t, "no such host; again in")
	tl.wantNote(t, "joined")
	tl.wantNoMore(t)
}

// A token comes from the environment, since others see what a program was called
// with, and goes nowhere but into its header.
func TestTailShowsItsToken(t *testing.T) {
	const token = "7f3c-s3cret"
	live := chime.NewRouter(chime.WithLogger(slog.New(slog.DiscardHandler)), chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
		if chime.Token(r) != token {
			return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "log in first")
		}
		return chime.Identity{ID: "Ann"}, nil
	}))
	live.Channel("chat_room:{id}", anyChannel{})
	server := httptest.NewServer(live)
	t.Cleanup(func() {
		_ = live.Shutdown(context.Background()) // there is nobody any more
		server.Close()
	})
	look := func(given string, until string) (notes string, err error) {
		t.Setenv("CHIME_TOKEN", given)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		read, write := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			ended <- tail(ctx, server.URL, "chat_room:1", false, io.Discard, write)
			write.Close()
		}()
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			if notes += lines.Text() + "\n"; until != "" && strings.Contains(notes, until) {
				stop()
			}
		}
		return notes, receive(t, ended)
	}
	notes, err := look(token, "joined chat_room:1")
	if err != nil || strings.Contains(notes, token) {
		t.Errorf("with the token: got %v and %q, want to join, and no word of the token", err, notes)
	}
	for given, want := range map[string]string{
		"":             "401 Unauthorized: log in first: set CHIME_TOKEN if the server wants a token",
		"stale-s3cret": "401 Unauthorized: log in first: check the token in CHIME_TOKEN",
		"s3cret\n":     "CHIME_TOKEN: the token has spaces or control characters",
	} {
		if notes, err := look(given, ""); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(notes+err.Error(), "s3cret") {
			t.Errorf("with %q: got %v and %q, want %q, and no word of the token", given, err, notes, want)
		}
	}
}

// The token is for the server that --url names, and for no other.
func TestTailFollowsNoRedirect(t *testing.T) {
	t.Setenv("CHIME_TOKEN", "s3cret")
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another server is asked, with %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	moved := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/socket/sse", http.StatusTemporaryRedirect))
	defer moved.Close()
	err := tail(t.Context(), moved.URL+"/socket", "chat_room:lobby", false, io.Discard, io.Discard)
	if want := "307 Temporary Redirect to \"" + elsewhere.URL; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %s", err, want)
	}
}

func TestTailSaysWhatBecameOfItsPlace(t *testing.T) {
	reply := `data: ["1","1","t:1","phx_reply",{"status":"ok","response":{"@history":{"epoch":"e","offset":9%s}}}]` + "\n\n"
	for recovered, want := range map[string]string{
		"":                   "joined t:1",
		`,"recovered":true`:  "joined t:1 again: nothing was missed",
		`,"recovered":false`: "joined t:1 again: messages were missed, the newest follow",
	} {
		tl := startTail(t, play(t, streamAndStay(fmt.Sprintf(reply, recovered))).URL)
		tl.wantNote(t, want)
		tl.wantNoMore(t)
	}
}

func TestTailReadsALargeEvent(t *testing.T) {
	large := strings.Repeat("x", 2<<20)
	tl := startTail(t, play(t, streamAndStay(joinOK+`data: [null,null,"t:1","said",{"x":"`+large+`"}]`+"\n\n")).URL)
	tl.wantLines(t, large)
	tl.wantNoMore(t)
}

func TestTailComesBackAfterARestart(t *testing.T) {
	t.Parallel() // it waits
	before := startServe(t, need.Address(), "")
	post(t, before.url, `{"name":"Ann","message":"one"}`)
	tl := startTailOf(t, before.url+"/socket", "chat_room:lobby")
	tl.wantLines(t, `"one"`)
	before.wantStop(t)
	after := startServe(t, strings.TrimPrefix(before.url, "http://"), "")
	post(t, after.url, `{"name":"Ann","message":"two"}`)
	tl.wantLines(t, `"two"`)
	tl.wantNoMore(t)
}

func TestTailPrintsOneLineAFrame(t *testing.T) {
	tl := startTail(t, play(t, streamAndStay(joinOK+"data: [null,null,\"t:1\",\r\ndata: \"said\", {}]\r\n\r\n")).URL)
	if got, want := receive(t, tl.lines), `[null,null,"t:1","said",{}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	tl.wantNoMore(t)
}

func TestTailEndsWhenItCannotPrint(t *testing.T) {
	s := play(t, streamAndStay(joinOK+one))
	broken, w := io.Pipe()
	broken.Close()
	err := tail(t.Context(), s.URL, "t:1", true, w, io.Discard)
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want %v", err, io.ErrClosedPipe)
	}
}

func TestTailRefusesABadURL(t *testing.T) {
	for _, mount := range []string{"", "127.0.0.1:4000", "ftp://h/socket", "http:///socket", "http://h:x"} {
		if _, err := streamURL(mount, "t:1"); err == nil || !strings.Contains(err.Error(), "--url") {
			t.Errorf("%q: got %v, want an error that names --url", mount, err)
		}
	}
	got, err := streamURL("https://h/app/socket/?name=Ann", "t:1")
	if want := "https://h/app/socket/sse?join=t%3A1&name=Ann"; err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}
