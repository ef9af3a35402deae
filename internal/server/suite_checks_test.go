package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

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

func turningAway(s *stage) {
	s.greet = func(cs transport.ClientSocket) {
		if err := cs.Send(push(room, 1, 10), ""); err != nil {
			s.t.Errorf("Send in Accept: %v", err)
		}
		cs.Close(wire.CloseDisconnect, "not you", transport.Kicked)
	}
	p, r := s.enter()
	s.want(p, 1, 10)
	s.wantEnd(p, End{1001, "not you"})
	r.wantClosed(transport.Kicked)
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
	r.wantClosed(transport.Vanished)
	if err := r.cs.Send(push(room, 1, 0), ""); !errors.Is(err, transport.ErrClosed) {
		s.t.Errorf("Send to who is gone: got %v, want %v", err, transport.ErrClosed)
	}
}

// soon is long enough for who has it not to be refused as expired.
func soon(*http.Request) (transport.Identity, error) {
	return transport.Identity{ID: "ada", Expires: time.Now().Add(200 * time.Millisecond)}, nil
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

// fill sends to a peer that does not read, which has been sent so many, until Ready says that
// it calls back. It returns how many have been sent then.
func (s *stage) fill(r *receiver, sent int) (called chan struct{}, now int) {
	s.t.Helper()
	for n := sent; n < 100_000; n++ {
		s.send(r, n, 4000)
		if called, full := s.full(r); full {
			return called, n + 1
		}
	}
	s.t.Fatal("100,000 messages that nobody reads, and there is room for more")
	return nil, 0
}

// full reports whether Ready says that it calls back. The system may take some of
// what is queued at any time, so it is asked more than once.
func (s *stage) full(r *receiver) (called chan struct{}, full bool) {
	for range 100 {
		// Its own variable: a call of an earlier attempt may still come.
		attempt := make(chan struct{}, 10)
		if r.cs.Ready(func() { attempt <- struct{}{} }) {
			return nil, false
		}
		called = attempt
		runtime.Gosched()
	}
	return called, true
}

func offering(s *stage) {
	p, r := s.enter()
	// The system may take some of them at any time, so one refusal is not the last.
	sent, refused := 0, 0
	for refused < 100 {
		if !r.cs.Offer(push(room, sent, 4000), "") {
			refused++
			continue
		}
		if sent++; sent == 100_000 {
			s.t.Fatal("100,000 messages that nobody reads, and Offer takes more")
		}
	}
	for n := range sent {
		s.want(p, n, 4000)
	}
	s.send(r, sent, 10) // it lives, and what did not fit was not queued
	s.want(p, sent, 10)
	if !r.cs.Offer(push(room, sent+1, 10), "") {
		s.t.Error("got Offer false of an empty queue, want true")
	}
	s.want(p, sent+1, 10)
	r.cs.Close(wire.CloseDisconnect, "enough", transport.Kicked)
	if !r.cs.Offer(push(room, sent+2, 10), "") {
		s.t.Error("got Offer false after the end, want true: nothing is to be sent later")
	}
	s.wantEnd(p, End{1001, "enough"})
	r.wantClosed(transport.Kicked)
}

// slowFirst ends a client socket twice while its receiver is busy, which is told
// when it is done.
func slowFirst(s *stage) {
	p, r := s.enter()
	r.hold = make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() { _ = p.Send(`["1","1","room:1","said",{}]`) }) // answered late, or not at all
	r.wait("the frame has arrived", func() bool { return len(r.frames) == 1 })
	for n := 0; r.cs.Send(push(room, n, 4000), "") == nil; n++ {
		if n == 100_000 {
			s.t.Fatal("100,000 messages that nobody reads, and Send takes more")
		}
	}
	s.server.Disconnect("ada", "out")
	r.cs.Close(wire.CloseDrain, "drain", transport.Drained)
	close(r.hold)
	r.wantClosed(transport.Slow)
	p.Vanish()
	sending.Wait()
}

func readyAgain(s *stage) {
	p, r := s.enter()
	former, sent := s.fill(r, 0)
	called, full := s.full(r)
	for !full { // the system has taken some of it
		former, sent = s.fill(r, sent)
		called, full = s.full(r)
	}
	for n := range sent {
		s.want(p, n, 4000)
	}
	within(s.t, called, "call of what Ready was given last")
	r.cs.Close(wire.CloseDisconnect, "enough", transport.Kicked)
	r.wantClosed(transport.Kicked)
	if len(former) > 0 || len(called) > 0 {
		s.t.Errorf("Ready called back the former %d times and the last %d times more, want none", len(former), len(called))
	}
}

func ready(s *stage) {
	p, r := s.enter()
	for range 2 {
		called, sent := s.fill(r, 0)
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
	called, _ := s.fill(r, 0)
	p.Vanish()
	within(s.t, called, "call of what Ready was given")
	r.wantClosed(transport.Vanished)
	p, r = s.enter()
	called, sent := s.fill(r, 0)
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
	r.wantClosed(transport.Vanished)
	check("after the end")
}

func shutdown(s *stage) {
	const readers = 5
	type both struct {
		peer
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
	s.fill(r, 0) // and it never reads, so that Shutdown has to wait for it
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(io.ErrNoProgress)
	if err := s.server.Shutdown(ctx); !errors.Is(err, io.ErrNoProgress) {
		s.t.Errorf("got %v, want the cause of the context's end: %v", err, io.ErrNoProgress)
	}
	r.wantClosed(transport.Drained)
}
