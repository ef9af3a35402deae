package mount_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// attached serves a router over pipes in a bubble, with nothing but Attach.
func attached(t *testing.T, srv *http.Server, script func(*testing.T, *raw.Site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, live := raw.NewRouter(t)
		app := chi.NewRouter()
		app.Mount("/socket", live)
		pipes := raw.NewPipes()
		s.Host, s.Dial, s.Wait = "chime.example", pipes.Dial, 24*time.Hour
		srv.Handler = app
		live.Attach(srv)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = srv.Serve(pipes)
		}()
		defer func() {
			if err := srv.Shutdown(context.Background()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			<-done
		}()
		script(t, s)
	})
}

// everybody opens a client of each kind on HTTP/1.
func everybody(t *testing.T, s *raw.Site) (wantEnds func()) {
	t.Helper()
	phoenix := s.Phoenix(t)
	ws, _ := s.Chime(t)
	half, _ := s.Half(t)
	bare := s.Bare(t, "join=hall:1")
	bare.Next() // the reply to its join
	heard := make(chan struct{}, 4)
	go func() {
		phoenix.WantClose(1012, "drain")
		heard <- struct{}{}
	}()
	go func() {
		if got := ws.Next(); !strings.Contains(got, `"drain"`) {
			t.Errorf("a WebSocket of the chime dialect: got %s, want a drain", got)
		}
		ws.WantClose(1012, "drain")
		heard <- struct{}{}
	}()
	go func() {
		if got := half.Next(); !strings.Contains(got.Data, `"drain"`) {
			t.Errorf("a stream of the chime dialect: got %s, want a drain", got.Data)
		}
		half.WantClosed(1012, "drain")
		heard <- struct{}{}
	}()
	go func() {
		if got := bare.Next(); got.Retry == "" || !strings.Contains(got.Data, `"closed"`) {
			t.Errorf("a stream without chime headers: got %+v, want a retry and the end", got)
		}
		heard <- struct{}{}
	}()
	synctest.Wait() // the answer to an upgrade goes out before the connection is taken over
	return func() {
		t.Helper()
		for range 4 {
			<-heard
		}
	}
}

// Their connections were taken over from the server, which knows nothing of them.
func TestTheShutdownOfAnAttachedServerDrainsAndWaits(t *testing.T) {
	srv := &http.Server{}
	attached(t, srv, func(t *testing.T, s *raw.Site) {
		wantEnds := everybody(t, s)
		busy := s.Phoenix(t).Join("hall:1", "busy")
		busy.Text(`["1","2","hall:1","block",{}]`)
		s.Hall.WantBegun(t, "busy")
		raw.Ignore(busy.Conn)
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(context.Background()) }()
		wantEnds()
		time.Sleep(3 * time.Second) // a handler may take a while after the end of its client
		select {
		case err := <-done:
			t.Fatalf("got %v while a handler runs, want Shutdown to wait for it", err)
		default:
		}
		close(s.Hall.Release)
		if err := <-done; err != nil {
			t.Errorf("got %v, want nil", err)
		}
		s.Hall.WantAllLeft(t, raw.Left("hall:1", "", channel.Drained), raw.Left("hall:1", "busy", channel.Drained))
	})
}

func TestTheShutdownOfAnAttachedServerEndsWithItsContext(t *testing.T) {
	srv := &http.Server{}
	attached(t, srv, func(t *testing.T, s *raw.Site) {
		busy := s.Phoenix(t).Join("hall:1", "busy")
		busy.Text(`["1","2","hall:1","block",{}]`)
		s.Hall.WantBegun(t, "busy")
		raw.Ignore(busy.Conn)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begun := time.Now()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("got %v after %v, want the end of the context after 1s", err, time.Since(begun))
		}
		close(s.Hall.Release)
	})
}

// Close has no time for a window.
func TestTheCloseOfAnAttachedServerEndsAllAtOnce(t *testing.T) {
	srv := &http.Server{}
	attached(t, srv, func(t *testing.T, s *raw.Site) {
		wantEnds := everybody(t, s)
		begun := time.Now()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		wantEnds()
		if took := time.Since(begun); took > 0 {
			t.Errorf("the last was told after %v, want at once", took)
		}
	})
}

// Streams on HTTP/2 are requests that are under way: without a drain they are so for
// ever.
func TestTheShutdownOfAnAttachedServerDrainsHTTP2(t *testing.T) {
	s, live := raw.NewRouter(t)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	server := httptest.NewUnstartedServer(app)
	server.EnableHTTP2 = true
	live.Attach(server.Config)
	server.StartTLS()
	defer server.Close()
	s.Host = server.Listener.Addr().String()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/socket/sse", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Chime-Received", "0")
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Fatalf("got HTTP/%d, want HTTP/2: Attach must not decide what the server speaks", res.ProtoMajor)
	}
	es := &raw.Stream{T: t, Head: raw.AnswerOf(res), R: bufio.NewReader(res.Body)}
	raw.SecretIn(t, es.Next().Data)
	ctx, cancel := context.WithTimeout(context.Background(), s.Wait)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: got %v, want nil", err)
	}
	if got := es.Next(); !strings.Contains(got.Data, `"drain"`) {
		t.Errorf("got %s, want a drain", got.Data)
	}
	es.WantClosed(1012, "drain")
}

// What a hook knows of connections holds for all that it sees.
func TestTheHooksOfAnAttachedServerSeeItsOwnConnectionsOnly(t *testing.T) {
	type ours struct{}
	var listeners, conns []string
	srv := &http.Server{
		BaseContext: func(l net.Listener) context.Context {
			listeners = append(listeners, l.Addr().Network())
			return context.WithValue(context.Background(), ours{}, "base")
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			conns = append(conns, c.RemoteAddr().Network()+" "+ctx.Value(ours{}).(string))
			return ctx
		},
		ConnState: func(c net.Conn, _ http.ConnState) {
			if c.RemoteAddr().Network() != "pipe" {
				t.Errorf("ConnState: got a connection from %v", c.RemoteAddr())
			}
		},
	}
	attached(t, srv, func(t *testing.T, s *raw.Site) {
		s.Request(t, http.MethodGet, "/socket/", "").Want(t, http.StatusOK, "chime: connect below this path, at websocket, sse or poll; the client is chime.js")
		if want := []string{"tcp"}; !slices.Equal(listeners, want) {
			t.Errorf("BaseContext: got %v, want %v", listeners, want)
		}
		if want := []string{"pipe base"}; !slices.Equal(conns, want) {
			t.Errorf("ConnContext: got %v, want %v", conns, want)
		}
	})
}

func TestAttachWantsAServer(t *testing.T) {
	defer func() {
		if got := recover(); got != "chime: Attach: nil: want a server" {
			t.Errorf("got %v, want a panic that says so", got)
		}
	}()
	_, live := raw.NewRouter(t)
	live.Attach(nil)
}

// stubborn has handlers that do not look at their context.
type stubborn struct {
	began   chan context.Context
	release chan struct{}
	in      string // the handler that is
}

func (s *stubborn) wait(ctx context.Context, in string) {
	if in == s.in {
		s.began <- ctx
		<-s.release
	}
}

func (s *stubborn) HandleJoined(ctx context.Context, _ *channel.Socket, _ channel.Message) (channel.Accepted, error) {
	s.wait(ctx, "HandleJoined")
	return channel.Accept(nil), nil
}

func (s *stubborn) HandleMessage(ctx context.Context, _ *channel.Socket, _ channel.Message) (any, error) {
	s.wait(ctx, "HandleMessage")
	return nil, nil
}

func (s *stubborn) HandleLeave(ctx context.Context, _ *channel.Socket, _ channel.Reason) {
	s.wait(ctx, "HandleLeave")
}

// A handler that hangs has to be found; and one that looks at its context has half of
// the time to end.
func TestShutdownNamesTheHandlersThatIgnoreTheirContext(t *testing.T) {
	for _, handler := range []string{"HandleJoined", "HandleMessage", "HandleLeave"} {
		t.Run(handler, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
				ch := &stubborn{began: make(chan context.Context, 1), release: make(chan struct{}), in: handler}
				s.Live.Channel("stubborn:{id}", ch)
				ws := s.Phoenix(t)
				raw.Ignore(ws.Conn)
				ws.Text(`["1","1","stubborn:1","phx_join",{}]`)
				ws.Text(`["1","2","stubborn:1","hello",{}]`)
				ws.Text(`["1","3","stubborn:1","phx_leave",{}]`)
				handed := <-ch.began
				ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
				defer cancel()
				begun := time.Now()
				cancelled := make(chan time.Duration, 1)
				go func() {
					<-handed.Done()
					cancelled <- time.Since(begun)
				}()
				err := s.Live.Shutdown(ctx)
				want := `shutdown: context deadline exceeded: still running: ` + handler + ` of "stubborn:1" (stubborn:{id}): want handlers that return when their context ends`
				if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want %s", err, want)
				}
				if at := <-cancelled; at.Round(time.Millisecond) != 4*time.Second {
					t.Errorf("its context ended after %v, want half of the 8s", at)
				}
				close(ch.release)
				if err := s.Live.Shutdown(context.Background()); err != nil {
					t.Errorf("another Shutdown, once they have returned: got %v, want nil", err)
				}
			})
		})
	}
}

// So has an Outgoing that hangs, live or in a page of older messages.
func TestShutdownNamesAnOutgoingThatIgnoresItsContext(t *testing.T) {
	for _, asks := range []string{"new", "@history"} {
		t.Run(asks, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
				began, release := make(chan context.Context, 1), make(chan struct{})
				s.Live.Channel("hung:{id}", &stubborn{}, channel.History{Keep: 10}, channel.Outgoing(func(ctx context.Context, _ *channel.Socket, m channel.Message) (any, bool) {
					began <- ctx
					<-release
					return m.Payload, true
				}, "new"))
				say := func() {
					if err := s.Live.Broadcast(t.Context(), "hung:1", "new", map[string]int{"n": 1}); err != nil {
						t.Fatal(err)
					}
				}
				ws := s.Phoenix(t)
				raw.Ignore(ws.Conn)
				if asks == "@history" {
					say()
				}
				ws.Text(`["1","1","hung:1","phx_join",{}]`)
				ws.Text(`["1","2","hung:1","` + asks + `",{}]`)
				if asks == "new" {
					synctest.Wait()
					say()
				}
				handed := <-began
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				err := s.Live.Shutdown(ctx)
				want := `shutdown: context deadline exceeded: still running: Outgoing of "hung:1" (hung:{id}): want handlers that return when their context ends`
				if err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
				if handed.Err() == nil {
					t.Error("its context has not ended")
				}
				close(release)
				if err := s.Live.Shutdown(context.Background()); err != nil {
					t.Errorf("another Shutdown, once it has returned: got %v, want nil", err)
				}
			})
		})
	}
}

// An http.Server says no more than that its context has ended.
func TestTheLogNamesTheHandlersThatAShutdownWaitsFor(t *testing.T) {
	srv := &http.Server{}
	attached(t, srv, func(t *testing.T, s *raw.Site) {
		ch := &stubborn{began: make(chan context.Context, 1), release: make(chan struct{}), in: "HandleMessage"}
		s.Live.Channel("stubborn:{id}", ch)
		ws := s.Phoenix(t)
		raw.Ignore(ws.Conn)
		ws.Text(`["1","1","stubborn:1","phx_join",{}]`)
		ws.Text(`["1","2","stubborn:1","hello",{}]`)
		<-ch.began
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(context.Background()) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, want := s.Logs.String(), `HandleMessage of \"stubborn:1\" (stubborn:{id})`; !strings.Contains(got, want) {
			t.Errorf("got %s, want %s in it", got, want)
		}
		close(ch.release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
