package chime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-chime/chime/channel"
)

// hall is a channel that misbehaves in the way that a client asks for.
type hall struct {
	left    chan departure
	began   chan string   // who blocks now
	release chan struct{} // closed to let them go on
}

// departure is a call of HandleLeave.
type departure struct {
	topic, who string
	why        channel.Reason
}

func (h *hall) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	var p struct{ As, Mode string }
	_ = m.Decode(&p) // a join without them is fine
	s.Assign("as", p.As)
	switch p.Mode {
	case "refuse":
		return channel.Accepted{}, channel.Refuse("full house")
	case "forget":
		return channel.Accepted{}, nil
	case "fail":
		return channel.Accept(nil), errors.New("password " + aSecret)
	case "panic":
		panic("password " + aSecret)
	case "slow":
		h.block(ctx, p.As)
	case "number":
		return channel.Accept(7), nil
	case "mine":
		return channel.Accept(mine{}), nil
	case "typed nil":
		return channel.Accept(nil), (*channel.Error)(nil)
	case "spaced":
		return channel.Accept(json.RawMessage(`{ }`)), nil
	}
	return channel.Accept(nil), nil
}

func (h *hall) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "say":
		return nil, s.Rebroadcast(ctx, m)
	case "echo":
		return m.Payload, nil
	case "boom":
		panic("password " + aSecret)
	case "block":
		as, _ := s.Assigned("as").(string)
		h.block(ctx, as)
	case "fail":
		return nil, errors.New("password " + aSecret)
	case "refuse":
		return nil, fmt.Errorf("password %s: %w", aSecret, channel.Refuse("not today"))
	case "no json":
		return make(chan int), nil
	case "mine":
		return mine{}, nil
	case "typed nil":
		return nil, (*channel.Error)(nil)
	case "later":
		return channel.Later, nil
	case "kick me":
		p := struct{ Because string }{"kicked"}
		_ = m.Decode(&p)
		s.Disconnect(p.Because)
	}
	return nil, nil
}

func (h *hall) HandleLeave(_ context.Context, s *channel.Socket, why channel.Reason) {
	as, _ := s.Assigned("as").(string)
	h.left <- departure{s.Topic(), as, why}
}

// block waits for the test, or for the end of the socket.
func (h *hall) block(ctx context.Context, who string) {
	h.began <- who
	select {
	case <-h.release:
	case <-ctx.Done():
	}
}

// wantBegun waits until the handler of somebody blocks.
func (h *hall) wantBegun(t *testing.T, who string) {
	t.Helper()
	select {
	case got := <-h.began:
		if got != who {
			t.Fatalf("the handler of %q blocks, want that of %q", got, who)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the handler of %q does not run", who)
	}
}

// wantLeft waits for the next departure.
func (h *hall) wantLeft(t *testing.T, want departure) {
	t.Helper()
	select {
	case got := <-h.left:
		if got != want {
			t.Errorf("HandleLeave: got %+v, want %+v", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("HandleLeave: got no call, want %+v", want)
	}
}

// wantAllLeft waits for departures in any order: each topic is left by itself.
func (h *hall) wantAllLeft(t *testing.T, want ...departure) {
	t.Helper()
	missing := map[departure]bool{}
	for _, d := range want {
		missing[d] = true
	}
	for range want {
		select {
		case got := <-h.left:
			if !missing[got] {
				t.Errorf("HandleLeave: got %+v, want one of %+v", got, missing)
			}
			delete(missing, got)
		case <-time.After(20 * time.Second):
			t.Fatalf("HandleLeave: got no call, want %+v", missing)
		}
	}
}

// wantNobodyLeft says that no call of HandleLeave is left over.
func (h *hall) wantNobodyLeft(t *testing.T) {
	t.Helper()
	select {
	case got := <-h.left:
		t.Errorf("HandleLeave: got %+v, want no call", got)
	default:
	}
}

// mine is a value that blows up when it is encoded.
type mine struct{}

func (mine) MarshalJSON() ([]byte, error) { panic("password " + aSecret) }
