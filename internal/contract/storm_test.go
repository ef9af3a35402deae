package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	needs "github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

// TestAfterAStormNobodyIsInATopic: whatever becomes of the connections of many
// clients in several topics, in the end all have left, each topic once, and
// nothing is left of them but who stayed, and goes last.
func TestAfterAStormNobodyIsInATopic(t *testing.T) {
	clients := needs.Rounds(50, 200)
	const storms, slack, tolerance = 2, 5, 512 << 10 // goroutines of the runtime come and go
	seed := needs.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStorm(t)
		s.stays = s.come(clients, seed, everywhere()...)
		s.rage(clients, seed) // a map keeps the size that it once had
		before, heap := goroutines(), heapBytes()
		for range storms {
			seed += uint64(clients)
			s.rage(clients, seed)
		}
		if n := goroutines(); n > before+slack {
			t.Errorf("%d goroutines, %d before", n, before)
		}
		if now := heapBytes(); now > heap+tolerance {
			t.Errorf("%d bytes of heap, %d before", now, heap)
		}
		s.stays.line.close()
		synctest.Wait()
		s.wantMembers()
		s.wantLeft(len(everywhere()))
		s.end(s.stays)
		s.http.CloseIdleConnections()
	})
}

// goroutines counts those that can be seen. NumGoroutine is out by dozens for a
// moment when the runtime moves those that have ended from list to list.
func goroutines() int {
	b := make([]byte, 1<<20)
	n := runtime.Stack(b, true)
	for n == len(b) { // perhaps cut off
		b = make([]byte, 2*len(b))
		n = runtime.Stack(b, true)
	}
	return bytes.Count(b[:n], []byte("\n\ngoroutine ")) + 1
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC() // what the pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// storm is a Router whose clients lose their connections.
type storm struct {
	*testing.T
	live  *chime.Router
	crowd crowd
	http  *http.Client
	stays *caught // in all topics, which go with the last of their members
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	history := store.NewMemory()
	s := &storm{T: t, crowd: crowd{left: map[*channel.Socket]int{}}}
	s.live = chime.NewRouter(chime.WithConnect(raw.ByToken), chime.WithStore(history), chime.WithLogger(slog.New(slog.DiscardHandler)))
	s.live.Channel("hall:{id}", &s.crowd, channel.Presence(func(s *channel.Socket) (string, any) { return s.Identity().ID, nil }))
	s.live.Channel("book:{id}", &s.crowd, channel.History{Keep: 50, Replay: 20})
	app := chi.NewRouter()
	app.Mount("/socket", s.live)
	pipes := raw.NewPipes()
	server := &http.Server{Handler: app, ErrorLog: log.New(io.Discard, "", 0)}
	s.http = &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return pipes.Dial() },
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(pipes)
	}()
	t.Cleanup(func() {
		if err := s.live.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		_ = server.Close()
		<-done
		_ = history.Close()
	})
	return s
}

// crowd is the channel of a storm. It counts how often each join is left.
type crowd struct {
	mu   sync.Mutex // guards left
	left map[*channel.Socket]int
}

func (c *crowd) HandleJoined(_ context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[s] = 0
	return channel.Accept(nil), nil
}

func (c *crowd) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	return nil, s.Rebroadcast(ctx, m)
}

func (c *crowd) HandleLeave(_ context.Context, s *channel.Socket, _ channel.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[s]++
}

// caught is a client in a storm. It hears everything, and keeps nothing of it.
type caught struct {
	n      int
	topics []string
	line   *lastingLine

	mu    sync.Mutex // guards fault
	fault string     // the first
}

func (c *caught) keep([]byte)       {}
func (c *caught) put(frame)         {}
func (c *caught) retryAfter(string) {}
func (c *caught) say(int)           {}
func (c *caught) end()              {}

func (c *caught) blame(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault == "" {
		c.fault = fmt.Sprintf(format, args...)
	}
}

// Topics. The book has a history, and all are in it.
const halls, book = 25, "book:1"

func hallOf(n int) string { return fmt.Sprintf("hall:%d", n%halls) }

func everywhere() []string {
	topics := []string{book}
	for n := range halls {
		topics = append(topics, hallOf(n))
	}
	return topics
}

// rage lets clients come, speak, lose their connections and come back on a
// transport of either kind, and then go in every way there is, or not come back.
func (s *storm) rage(clients int, seed uint64) {
	s.Helper()
	all := make([]*caught, clients)
	for n := range all {
		all[n] = s.come(n, seed, book, hallOf(n), hallOf(n+1+n%3))
	}
	there := slices.Concat(all, []*caught{s.stays})
	synctest.Wait()
	s.wantMembers(there...)
	for round := range 3 {
		for _, c := range all {
			if c.n%3 != round { // the others hear it, and stay
				c.line.stayAway(cuts)
			}
		}
		for _, c := range all { // who is away says it later
			topic := 1 + c.n%2
			if c.n%20 == 0 {
				topic = 0
			}
			s.send(c, topic, "say", obj{})
		}
		time.Sleep(within)
		together(all, func(c *caught) {
			if c.n%3 != round {
				c.line.goBack()
			}
		})
	}
	synctest.Wait()
	s.wantMembers(there...)
	together(all, func(c *caught) {
		switch c.n % 6 {
		case 0:
			c.line.close()
		case 1: // on each transport there is a goodbye, with a connection or without
			c.line.stayAway(cuts)
			c.line.close()
		case 2: // it does not come back
			s.send(c, 0, "phx_leave", obj{})
			c.line.stayAway(cuts)
		case 3:
			if err := s.live.Disconnect(s.Context(), identity(c.n)); err != nil {
				s.Errorf("Disconnect: %v", err)
			}
		default: // it comes back, and says no word
			c.line.stayAway(cuts)
			if _, err := c.line.open(); err != nil {
				s.Errorf("client %d: %v", c.n, err)
			}
		}
	})
	time.Sleep(2 * grace)
	synctest.Wait()
	s.wantMembers(s.stays)
	s.wantLeft(3 * clients)
	for _, c := range all {
		s.end(c)
	}
	s.http.CloseIdleConnections()
	time.Sleep(time.Minute) // for what hangs up
	synctest.Wait()
}

func together(all []*caught, do func(*caught)) {
	var working sync.WaitGroup
	for _, c := range all {
		working.Go(func() { do(c) })
	}
	working.Wait()
}

func identity(n int) string { return fmt.Sprintf("client %d", n) }

// come connects a client and has it join topics.
func (s *storm) come(n int, seed uint64, topics ...string) *caught {
	s.Helper()
	c := &caught{n: n, topics: topics}
	l, err := dialLasting(visit{
		mount: "http://chime.example/socket", http: s.http, box: c, seed: seed + uint64(n),
		head: http.Header{"Authorization": {"Bearer " + identity(n)}},
	}, false, "websocket", "sse")
	if err != nil {
		s.Fatalf("connect: %v", err)
	}
	c.line = l.(*lastingLine)
	for i, topic := range topics {
		payload := obj{}
		if topic == book {
			payload["@last"] = 5
		}
		s.send(c, i, "phx_join", payload)
	}
	return c
}

// send sends a frame in one of the topics of c.
func (s *storm) send(c *caught, topic int, event string, payload obj) {
	s.Helper()
	ref := fmt.Sprint(topic)
	if err := c.line.send(frame{joinRef: ref, ref: ref, topic: c.topics[topic], event: event, payload: payload}); err != nil {
		s.Errorf("client %d: %s in %s: %v", c.n, event, c.topics[topic], err)
	}
}

// end ends what a client still has, and looks at what it had to complain of.
func (s *storm) end(c *caught) {
	s.Helper()
	c.line.cut()
	if c.fault != "" {
		s.Errorf("client %d: %s", c.n, c.fault)
	}
}

// wantMembers wants that some clients are in their topics, and nobody else.
func (s *storm) wantMembers(there ...*caught) {
	s.Helper()
	want := map[string]int{}
	for _, c := range there {
		for _, topic := range c.topics {
			want[topic]++
		}
	}
	for _, topic := range everywhere() {
		if got, err := s.live.Members(s.Context(), topic); len(got) != want[topic] || err != nil {
			s.Errorf("%s has the members %v, %v, want %d", topic, got, err, want[topic])
		}
		if topic == book {
			continue // where nobody asks who is present
		}
		list, err := s.live.Presence(s.Context(), topic)
		if err != nil {
			s.Error(err)
		}
		present := 0
		for _, p := range list {
			present += len(p.Metas)
		}
		if present != want[topic] {
			s.Errorf("in %s %d are present, want %d", topic, present, want[topic])
		}
	}
}

// wantLeft wants that so many joins were left, each once, and forgets them.
func (s *storm) wantLeft(joins int) {
	s.Helper()
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
	left := 0
	for socket, n := range s.crowd.left {
		if n > 1 {
			s.Errorf("%v: HandleLeave was called %d times, want 1", socket, n)
		}
		if n > 0 {
			left++
			delete(s.crowd.left, socket)
		}
	}
	if left != joins {
		s.Errorf("%d joins were left, want %d", left, joins)
	}
}
