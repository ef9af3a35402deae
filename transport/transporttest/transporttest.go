// Package transporttest is the suite that every transport passes.
//
//	func TestWebSocket(t *testing.T) {
//		transporttest.Run(t, func(t *testing.T, h http.Handler) func() (transporttest.Peer, error) {
//			addr := listen(t, h)
//			return func() (transporttest.Peer, error) { return dial(addr) }
//		})
//	}
//
// It drives a [transport.Server] with receivers that only take notes, so that
// what it finds is a transport's and no channel's. It holds a transport to what
// ClientSocket and Receiver say; the bytes on the wire are for a transport's own
// tests, and so is when things happen: what takes seconds is checked here for
// coming at all. Run it with -race.
package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// Peer is the client of one client socket. One goroutine calls Next; all other
// methods are safe for concurrent use. A Peer reads from its connection in Next
// only: the suite wants to see what happens when a client does not.
type Peer interface {
	// Send sends frames, each a five-array, in one batch where the transport
	// has batches. It returns when they are written, or taken by the server.
	Send(frames ...string) error
	// Next returns the next frame from the server, without those of the topic
	// chime. At the end it says what the server said, if it said something: an
	// *End. It fails in a while, should nothing come.
	Next() (string, error)
	// Leave ends the client socket as a client does that is done.
	Leave() error
	// Vanish cuts the connection without a word.
	Vanish()
}

// End is what a server says before it ends a connection.
type End struct { //nolint:errname // it ends a stream as io.EOF does, which is no EOFError either
	Code   int
	Reason string
}

func (e *End) Error() string { return fmt.Sprintf("ended with %d %q", e.Code, e.Reason) }

// Run checks the transport whose peers come from what serve returns. Serve
// serves h until the end of the test; h answers GET /websocket, GET and POST
// /sse and POST /bye.
func Run(t *testing.T, serve func(t *testing.T, h http.Handler) (connect func() (Peer, error))) {
	for _, test := range []struct {
		name string
		run  func(*stage)
		cfg  transport.Config
	}{
		{name: "frames arrive in order, each once", run: upwards},
		{name: "what is sent arrives in order", run: downwards},
		{name: "what several send at once arrives, each one's in order", run: together},
		{name: "what Accept sends arrives", run: greeting},
		{name: "Close says why, after what was queued", run: closing},
		{name: "the first Close counts", run: closingTwice},
		{name: "a peer that leaves has closed", run: leaving},
		{name: "a peer that vanishes is gone", run: vanishing},
		{name: "an identity expires", run: expiring, cfg: transport.Config{Connect: expired}},
		{name: "Disconnect ends those of an identity", run: disconnecting},
		{name: "whatever ends it, and all at once, Closed is called once", run: endings},
		{name: "Ready calls back when there is room", run: ready, cfg: transport.Config{Limits: small}},
		{name: "Ready calls back at the end", run: readyAtTheEnd, cfg: transport.Config{Limits: small}},
		{name: "a peer that never reads is slow, and nobody waits for it", run: slow, cfg: transport.Config{Limits: small}},
		{name: "the context has the values of the request and outlives it", run: values},
		{name: "Shutdown waits for all", run: shutdown},
		{name: "Shutdown waits as long as its context", run: shutdownInVain, cfg: transport.Config{Limits: small}},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(newStage(t, test.cfg, serve)) })
	}
}

// patience is for what must come. Whatever takes longer has failed.
const patience = 30 * time.Second

var small = transport.Limits{QueueBytes: 64 << 10, QueueMessages: 64}

// stage is a server and its clients.
type stage struct {
	t       *testing.T
	server  *transport.Server
	connect func() (Peer, error)
	entered chan *receiver
	greet   func(transport.ClientSocket) // called by Accept

	peers     []Peer
	receivers []*receiver
}

type contextKey struct{}

func newStage(t *testing.T, cfg transport.Config, serve func(*testing.T, http.Handler) func() (Peer, error)) *stage {
	t.Helper()
	s := &stage{t: t, entered: make(chan *receiver, 1000), greet: func(transport.ClientSocket) {}}
	cfg.Accept = s.accept
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Grace = -1 // a client that vanishes has gone at once
	if cfg.Connect == nil {
		cfg.Connect = func(*http.Request) (transport.Identity, error) { return transport.Identity{ID: "ada"}, nil }
	}
	var err error
	if s.server, err = transport.NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /websocket", s.server.ServeWebSocket)
	mux.HandleFunc("GET /sse", s.server.ServeStream)
	mux.HandleFunc("POST /sse", s.server.ServePost)
	mux.HandleFunc("POST /bye", s.server.ServeBye)
	s.connect = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, r.Method)))
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
	if left := atWork(); len(left) > 0 {
		s.t.Errorf("after Shutdown %d goroutines are still at work:\n%s", len(left), strings.Join(left, "\n\n"))
	}
	if n := s.server.Len(); n > 0 {
		s.t.Errorf("after Shutdown there are %d clients, want none", n)
	}
}

// stop ends the server, and reports whether it did end. Who calls it while others
// still call methods of client sockets may find these others at work after it.
func (s *stage) stop() bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		s.t.Errorf("Shutdown: %v, after waiting for %v:\n%s", err, patience, strings.Join(atWork(), "\n\n"))
	}
	return err == nil
}

// atWork returns the stacks of the goroutines that are in package transport,
// but for handlers on their way out: what they do for a client has frames of
// its own.
func atWork() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var found []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(stack, "/transporttest.(*stage).shutdown(") || strings.Contains(stack, "/transporttest.(*stage).stop(") {
			continue // this one, or another that waits beside it
		}
		for line := range strings.SplitSeq(stack, "\n") {
			_, method, ours := strings.Cut(line, "/chime/transport.(")
			if ours && !strings.HasPrefix(method, "*Server).Serve") && !strings.HasPrefix(method, "*Server).upgrade") {
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
func (s *stage) enter() (Peer, *receiver) {
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

	calls   sync.Mutex // held during a call; two at once are a fault
	mu      sync.Mutex // guards what follows
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
}

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
		held, changed := holds(), r.changed
		r.mu.Unlock()
		if held {
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

func (s *stage) want(p Peer, n, size int) {
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
func (s *stage) wantEnd(p Peer, want End) {
	s.t.Helper()
	text, err := p.Next()
	if end, ok := errors.AsType[*End](err); !ok || *end != want {
		s.t.Errorf("got %.100s and error %v, want %v", text, err, &want)
	}
}

func upwards(s *stage) {
	p, r := s.enter()
	const frames = 300
	sent := 0
	for batch := 1; sent < frames; batch++ {
		var texts []string
		for range min(batch, frames-sent) {
			sent++
			texts = append(texts, fmt.Sprintf(`["1","%d","room:%d","said",{"n":%d}]`, sent, sent%3, sent))
		}
		if err := p.Send(texts...); err != nil {
			s.t.Fatalf("batch %d: %v", batch, err)
		}
	}
	r.wait("all frames have arrived", func() bool { return len(r.frames) >= frames })
	if err := p.Leave(); err != nil {
		s.t.Fatal(err)
	}
	r.wantClosed(transport.Closed)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.frames) != frames {
		s.t.Errorf("got %d frames, want %d", len(r.frames), frames)
	}
	for i, f := range r.frames[:frames] {
		n := i + 1
		want := fmt.Sprintf(`1 %d room:%d said {"n":%d}`, n, n%3, n)
		if got := fmt.Sprintf("%s %s %s %s %s", f.JoinRef, f.Ref, f.Topic, f.Event, f.Payload); got != want {
			s.t.Fatalf("frame %d: got %s, want %s", n, got, want)
		}
	}
}

// sizes are such that some messages share a write, and some fill more than one.
var sizes = []int{0, 1, 125, 126, 1000, 30_000, 65_535, 70_000, 3, 200_000}

func downwards(s *stage) {
	p, r := s.enter()
	for round := range 3 {
		for i, size := range sizes {
			s.send(r, round*100+i, size)
		}
		for i, size := range sizes {
			s.want(p, round*100+i, size)
		}
	}
}

func together(s *stage) {
	p, r := s.enter()
	const senders, each = 8, 100
	var sending sync.WaitGroup
	for i := range senders {
		sending.Go(func() {
			for n := range each {
				if err := r.cs.Send(push(fmt.Sprintf("room:%d", i), n, 200), ""); err != nil {
					s.t.Errorf("sender %d: %v", i, err)
				}
			}
		})
	}
	next := map[string]int{}
	for range senders * each {
		got, err := p.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		topic := got[len(`[null,null,"`):len(`[null,null,"room:0`)]
		if want := pushed(topic, next[topic], 200); got != want {
			s.t.Fatalf("got  %.50s…\nwant %.50s…", got, want)
		}
		next[topic]++
	}
	sending.Wait()
}

func greeting(s *stage) {
	s.greet = func(cs transport.ClientSocket) {
		if err := cs.Send(push(room, 1, 10), ""); err != nil {
			s.t.Errorf("Send in Accept: %v", err)
		}
	}
	p, _ := s.enter()
	s.want(p, 1, 10)
}

func closing(s *stage) {
	p, r := s.enter()
	for n := range 50 {
		s.send(r, n, 5000)
	}
	r.cs.Close(wire.CloseDisconnect, "enough", transport.Kicked)
	if err := r.cs.Send(push(room, 50, 0), ""); !errors.Is(err, transport.ErrClosed) {
		s.t.Errorf("Send after Close: got %v, want %v", err, transport.ErrClosed)
	}
	if !r.cs.Ready(func() { s.t.Error("Ready called back after it had said true") }) {
		s.t.Error("got Ready false after Close, want true: Send says what is the matter")
	}
	r.wantClosed(transport.Kicked) // before the peer has read a thing
	for n := range 50 {
		s.want(p, n, 5000)
	}
	s.wantEnd(p, End{1001, "enough"})
}

func closingTwice(s *stage) {
	p, r := s.enter()
	r.cs.Close(wire.CloseDisconnect, "enough", transport.Kicked)
	r.cs.Close(wire.CloseDrain, "drain", transport.Drained)
	r.wantClosed(transport.Kicked)
	s.wantEnd(p, End{1001, "enough"})
}

func leaving(s *stage) {
	p, r := s.enter()
	if err := p.Leave(); err != nil {
		s.t.Fatal(err)
	}
	r.wantClosed(transport.Closed)
}

func vanishing(s *stage) {
	p, r := s.enter()
	p.Vanish()
	r.wantClosed(transport.Gone)
	if err := r.cs.Send(push(room, 1, 0), ""); !errors.Is(err, transport.ErrClosed) {
		s.t.Errorf("Send to who is gone: got %v, want %v", err, transport.ErrClosed)
	}
}

func expired(*http.Request) (transport.Identity, error) {
	return transport.Identity{ID: "ada", Expires: time.Now()}, nil
}

func expiring(s *stage) {
	p, r := s.enter()
	r.wantClosed(transport.Expired)
	s.wantEnd(p, End{1001, "expired"})
}

func disconnecting(s *stage) {
	p, r := s.enter()
	if n := s.server.Disconnect("bob", "out"); n != 0 {
		s.t.Errorf("Disconnect of somebody else: got %d client sockets, want 0", n)
	}
	if n := s.server.Disconnect("ada", "out"); n != 1 {
		s.t.Errorf("Disconnect: got %d client sockets, want 1", n)
	}
	r.wantClosed(transport.Kicked)
	s.wantEnd(p, End{1001, "out"})
}

// endings lets everything that ends a client socket happen at once. What is
// told, and in which order, the receiver checks.
func endings(s *stage) {
	const clients = 12
	for range clients {
		s.enter() // all of them, before Disconnect ends any
	}
	var busy sync.WaitGroup
	for i, p := range s.peers {
		r := s.receivers[i]
		for _, end := range []func(){
			func() { _ = p.Send(`["1","1","room:1","said",{}]`) },
			func() { r.cs.Close(wire.CloseUndecodable, "enough", transport.Closed) },
			func() { s.server.Disconnect("ada", "out") },
			func() {
				for n := range 200 {
					if r.cs.Send(push(room, n, 20_000), "") != nil {
						return
					}
				}
			},
			func() { r.cs.Ready(func() {}) },
			func() {
				if i%2 == 0 {
					_ = p.Leave()
				}
				p.Vanish()
			},
		} {
			busy.Go(end)
		}
	}
	busy.Go(func() { s.stop() })
	busy.Wait()
}

// fill sends to a peer that does not read until Ready says that it calls back.
func (s *stage) fill(r *receiver) (called chan struct{}, sent int) {
	s.t.Helper()
	called = make(chan struct{}, 10)
	for n := range 100_000 {
		s.send(r, n, 4000)
		if !r.cs.Ready(func() { called <- struct{}{} }) {
			return called, n + 1
		}
	}
	s.t.Fatal("100,000 messages that nobody reads, and there is room for more")
	return nil, 0
}

func ready(s *stage) {
	p, r := s.enter()
	for range 2 {
		called, sent := s.fill(r)
		for n := range sent {
			s.want(p, n, 4000)
		}
		within(s.t, called, "call of what Ready was given")
		if !r.cs.Ready(func() { s.t.Error("Ready called back after it had said true") }) {
			s.t.Error("got Ready false of an empty queue, want true")
		}
		if len(called) > 0 {
			s.t.Error("Ready called back twice")
		}
	}
}

func readyAtTheEnd(s *stage) {
	p, r := s.enter()
	called, _ := s.fill(r)
	p.Vanish()
	within(s.t, called, "call of what Ready was given")
	r.wantClosed(transport.Gone)
	p, r = s.enter()
	called, sent := s.fill(r)
	r.cs.Close(wire.CloseDisconnect, "enough", transport.Kicked)
	for n := range sent {
		s.want(p, n, 4000)
	}
	s.wantEnd(p, End{1001, "enough"})
	within(s.t, called, "call of what Ready was given")
}

func slow(s *stage) {
	_, r := s.enter()
	bystander, other := s.enter()
	for n := 0; ; n++ {
		if n == 100_000 {
			s.t.Fatal("100,000 messages that nobody reads, and Send takes more")
		}
		s.send(other, n, 10_000)
		s.want(bystander, n, 10_000)
		if err := r.cs.Send(push(room, n, 10_000), ""); errors.Is(err, transport.ErrSlow) {
			break
		} else if err != nil {
			s.t.Fatalf("got %v, want %v", err, transport.ErrSlow)
		}
	}
	if err := r.cs.Send(push(room, 0, 0), ""); !errors.Is(err, transport.ErrClosed) {
		s.t.Errorf("Send after ErrSlow: got %v, want %v", err, transport.ErrClosed)
	}
	r.wantClosed(transport.Slow)
	s.send(other, 0, 10)
	s.want(bystander, 0, 10)
	// Its connection ends though it still does not read.
	if err := bystander.Leave(); err != nil {
		s.t.Fatal(err)
	}
	bystander.Vanish()
	s.shutdown()
}

func values(s *stage) {
	p, r := s.enter()
	ctx := r.cs.Context()
	check := func(when string) {
		s.t.Helper()
		if got := ctx.Value(contextKey{}); got != http.MethodGet {
			s.t.Errorf("%s: got the value %v from the context, want that of the request that opened the socket", when, got)
		}
		if err := ctx.Err(); err != nil {
			s.t.Errorf("%s: the context is done: %v", when, err)
		}
	}
	check("open")
	if err := p.Send(`["1","1","room:1","said",{}]`); err != nil {
		s.t.Fatal(err)
	}
	r.wait("the frame has arrived", func() bool { return len(r.frames) == 1 })
	check("after a frame")
	p.Vanish()
	r.wantClosed(transport.Gone)
	check("after the end")
}

func shutdown(s *stage) {
	const readers = 5
	type both struct {
		Peer
		*receiver
	}
	var all []both
	for range readers {
		p, r := s.enter()
		all = append(all, both{p, r})
	}
	_, mute := s.enter() // neither reads nor answers
	s.send(mute, 1, 10)
	var reading sync.WaitGroup
	for _, b := range all {
		s.send(b.receiver, 1, 10)
		reading.Go(func() {
			if text, err := b.Next(); text != pushed(room, 1, 10) {
				s.t.Errorf("got %s and error %v, want the message that was queued", text, err)
			}
			s.wantEnd(b, End{1012, "drain"})
		})
	}
	var stopping sync.WaitGroup
	stopping.Go(s.shutdown)
	s.shutdown()
	stopping.Wait()
	reading.Wait()
	for _, b := range all {
		b.wantClosed(transport.Drained)
	}
	mute.wantClosed(transport.Drained)
	if p, err := s.connect(); err == nil {
		if _, err := p.Next(); err == nil {
			s.t.Error("a client was let in after Shutdown")
		}
		p.Vanish()
	}
	select {
	case r := <-s.entered:
		s.t.Errorf("client socket %s was opened after Shutdown", r.cs.ID())
	default:
	}
}

func shutdownInVain(s *stage) {
	_, r := s.enter()
	s.fill(r) // and it never reads, so that Shutdown has to wait for it
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(io.ErrNoProgress)
	if err := s.server.Shutdown(ctx); !errors.Is(err, io.ErrNoProgress) {
		s.t.Errorf("got %v, want the cause of the context's end: %v", err, io.ErrNoProgress)
	}
	r.wantClosed(transport.Drained)
}
