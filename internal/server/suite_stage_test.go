package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// patience is for what must come. Whatever takes longer has failed.
const patience = time.Minute

// stage is a server and its clients.
type stage struct {
	t       *testing.T
	server  *server.Server
	connect func() (peer, error)
	entered chan *receiver
	greet   func(transport.ClientSocket) // called by Accept
	posts   task.Group                   // handlers, which net/http waits for

	peers     []peer
	receivers []*receiver
}

type contextKey struct{}

func newStage(t *testing.T, cfg server.Config, serve func(*testing.T, http.Handler) func() (peer, error)) *stage {
	t.Helper()
	pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels("stage", t.Name())))
	s := &stage{t: t, entered: make(chan *receiver, 1000), greet: func(transport.ClientSocket) {}}
	cfg.Accept = s.accept
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Grace = server.NoGrace // a client that vanishes has gone at once
	if cfg.Connect == nil {
		cfg.Connect = func(*http.Request) (transport.Identity, error) { return transport.Identity{ID: "ada"}, nil }
	}
	var err error
	if s.server, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /websocket", s.server.ServeWebSocket)
	mux.HandleFunc("GET /sse", s.server.ServeStream)
	mux.HandleFunc("POST /sse", s.server.ServePost)
	mux.HandleFunc("GET /poll", s.server.ServePoll)
	mux.HandleFunc("POST /poll", s.server.ServePost)
	mux.HandleFunc("POST /bye", s.server.ServeBye)
	s.connect = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve := func() {
			mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, r.Method)))
		}
		if r.Method == http.MethodPost {
			s.posts.Do(serve)
		} else {
			serve()
		}
	}))
	t.Cleanup(s.end)
	return s
}

// end looks at what is left when everybody has been sent home.
func (s *stage) end() {
	for _, p := range s.peers {
		p.Vanish()
	}
	s.shutdown()
	for _, r := range s.receivers {
		if len(r.ended) == 0 {
			s.t.Errorf("after Shutdown the receiver of %s has not been told", r.cs.ID())
		}
	}
}

// shutdown ends the server, and checks that nothing of it is left.
func (s *stage) shutdown() {
	s.t.Helper()
	if !s.stop() {
		return
	}
	if left := s.atWork(); len(left) > 0 {
		s.t.Errorf("after Shutdown %d goroutines are still at work:\n%s", len(left), strings.Join(left, "\n\n"))
	}
	if n := s.server.Len(); n > 0 {
		s.t.Errorf("after Shutdown there are %d clients, want none", n)
	}
}

// stop ends the server, and reports whether it did end. Where others
// still call methods of client sockets, they may be found at work after it.
func (s *stage) stop() bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err == nil {
		err = s.posts.Wait(ctx)
	}
	if err != nil {
		s.t.Errorf("Shutdown: %v, after waiting for %v:\n%s", err, patience, strings.Join(s.atWork(), "\n\n"))
	}
	return err == nil
}

// inServer reports whether the stack of a goroutine has frames of the packages that
// carry clients.
func inServer(stack string) bool {
	for _, name := range []string{"server", "clientsocket", "flush"} {
		if strings.Contains(stack, "/chime/internal/"+name+".") {
			return true
		}
	}
	return false
}

// atWork returns the stacks of the goroutines of s that are at work, but for handlers
// on their way out: what they do for a client has frames of its own. Stages run side by side,
// and each has a label, which a goroutine has of the one that began it.
func (s *stage) atWork() []string {
	var buf bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&buf, 1)
	label := fmt.Sprintf("%q", s.t.Name())
	var found []string
	for stack := range strings.SplitSeq(buf.String(), "\n\n") {
		if !strings.Contains(stack, label) || strings.Contains(stack, "/server_test.(*stage).shutdown+") || strings.Contains(stack, "/server_test.(*stage).stop+") {
			continue // another's, or this one, or another that waits beside it
		}
		for line := range strings.SplitSeq(stack, "\n") {
			_, method, _ := strings.Cut(line, "/chime/internal/server.(")
			if inServer(line) && !strings.HasPrefix(method, "*Server).Serve") && !strings.HasPrefix(method, "*Server).upgrade") {
				found = append(found, stack)
				break
			}
		}
	}
	return found
}

func (s *stage) accept(cs transport.ClientSocket) transport.Receiver {
	r := &receiver{t: s.t, cs: cs, changed: make(chan struct{})}
	s.greet(cs)
	s.entered <- r
	return r
}

// enter connects a client, and returns both ends.
func (s *stage) enter() (peer, *receiver) {
	s.t.Helper()
	p, err := s.connect()
	if err != nil {
		s.t.Fatalf("connect: %v", err)
	}
	s.peers = append(s.peers, p)
	r := within(s.t, s.entered, "a client socket")
	s.receivers = append(s.receivers, r)
	return p, r
}

// within receives from a channel.
func within[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s after %v", what, patience)
		panic("not reached")
	}
}

// receiver notes what a Receiver is told, and whether it is told as promised.
type receiver struct {
	t  *testing.T
	cs transport.ClientSocket

	hold    chan struct{} // Receive waits until it is closed; nil for not at all
	calls   sync.Mutex    // held during a call; two at once are a fault
	mu      sync.Mutex    // guards what follows
	frames  []wire.Frame
	ended   []transport.Reason
	changed chan struct{} // closed when something was noted
}

// Receive implements transport.Receiver.
func (r *receiver) Receive(f wire.Frame) {
	r.note(func() {
		r.frames = append(r.frames, f)
		if len(r.ended) > 0 {
			r.t.Errorf("Receive(%s %s) after Closed(%s)", f.Topic, f.Event, r.ended[0])
		}
	})
	if r.hold != nil {
		<-r.hold
	}
}

// Finish implements transport.Receiver.
func (*receiver) Finish(time.Duration) <-chan struct{} { return nil }

// Closed implements transport.Receiver.
func (r *receiver) Closed(why transport.Reason) {
	r.note(func() {
		r.ended = append(r.ended, why)
		if len(r.ended) > 1 {
			r.t.Errorf("Closed was called %d times: %q", len(r.ended), r.ended)
		}
	})
}

func (r *receiver) note(what func()) {
	if !r.calls.TryLock() {
		r.t.Error("Receive and Closed are called at the same time")
		return
	}
	defer r.calls.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	what()
	close(r.changed)
	r.changed = make(chan struct{})
}

// wait waits until something holds of the notes.
func (r *receiver) wait(what string, holds func() bool) {
	r.t.Helper()
	late := time.After(patience)
	for {
		r.mu.Lock()
		done, changed := holds(), r.changed
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-late:
			r.t.Fatalf("after %v still waiting until %s", patience, what)
		}
	}
}

// wantClosed waits for the end, and compares its reason.
func (r *receiver) wantClosed(want transport.Reason) {
	r.t.Helper()
	r.wait("Closed was called", func() bool { return len(r.ended) > 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended[0] != want {
		r.t.Errorf("got Closed(%s), want Closed(%s)", r.ended[0], want)
	}
}

const room = "room:1"

// push makes the nth message of a topic, of at least size bytes.
func push(topic string, n, size int) *wire.Message {
	return wire.NewPush(topic, "n", []byte(fmt.Sprintf(`{"n":%d,"x":%q}`, n, bytes.Repeat([]byte{'x'}, size))), 0)
}

// pushed is push as a client sees it.
func pushed(topic string, n, size int) string {
	return fmt.Sprintf(`[null,null,%q,"n",{"n":%d,"x":%q}]`, topic, n, bytes.Repeat([]byte{'x'}, size))
}

func (s *stage) send(r *receiver, n, size int) {
	s.t.Helper()
	if err := r.cs.Send(push(room, n, size), ""); err != nil {
		s.t.Fatalf("Send of message %d: %v", n, err)
	}
}

func (s *stage) want(p peer, n, size int) {
	s.t.Helper()
	got, err := p.Next()
	if err != nil {
		s.t.Fatalf("waiting for message %d: %v", n, err)
	}
	if want := pushed(room, n, size); got != want {
		s.t.Fatalf("got  %.100s\nwant %.100s", got, want)
	}
}

// wantEnd reads the end of a connection, which must be next.
func (s *stage) wantEnd(p peer, want End) {
	s.t.Helper()
	text, err := p.Next()
	if end, ok := errors.AsType[*End](err); !ok || *end != want {
		s.t.Errorf("got %.100s and error %v, want %v", text, err, &want)
	}
}
