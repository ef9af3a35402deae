package raw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-chime/chime/channel"
)

// Hall is a channel that misbehaves in the way that a client asks for.
type Hall struct {
	Left    chan Departure
	began   chan string   // who blocks now
	Release chan struct{} // closed to let them go on
}

// Work is how long it takes to handle "work", which fails if its context ends meanwhile.
const Work = 300 * time.Millisecond

// Departure is a call of HandleLeave.
type Departure struct {
	topic, who string
	why        channel.Reason
}

// Left is the departure of somebody from a topic.
func Left(topic, who string, why channel.Reason) Departure { return Departure{topic, who, why} }

func (h *Hall) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	var p struct{ As, Mode string }
	_ = m.Decode(&p) // a join without them is fine
	s.Assign("as", p.As)
	switch p.Mode {
	case "refuse":
		return channel.Accepted{}, channel.Refuse("full house")
	case "forget":
		return channel.Accepted{}, nil
	case "fail":
		return channel.Accept(nil), errors.New("password " + Secret)
	case "panic":
		panic("password " + Secret)
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

func (h *Hall) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "say":
		return nil, s.Rebroadcast(ctx, m)
	case "echo":
		return m.Payload, nil
	case "boom":
		panic("password " + Secret)
	case "block":
		as, _ := s.Assigned("as").(string)
		h.block(ctx, as)
	case "stay": // whatever its context says
		as, _ := s.Assigned("as").(string)
		h.began <- as
		<-h.Release
	case "promise": // to answer then
		as, _ := s.Assigned("as").(string)
		h.began <- as
		go func() {
			<-h.Release
			_ = s.Reply(m, nil, nil)
		}()
		return channel.Later, nil
	case "work":
		select {
		case <-time.After(Work):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case "fail":
		return nil, errors.New("password " + Secret)
	case "refuse":
		return nil, fmt.Errorf("password %s: %w", Secret, channel.Refuse("not today"))
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

func (h *Hall) HandleLeave(_ context.Context, s *channel.Socket, why channel.Reason) {
	as, _ := s.Assigned("as").(string)
	h.Left <- Departure{s.Topic(), as, why}
}

// block waits for the test, or for the end of the socket.
func (h *Hall) block(ctx context.Context, who string) {
	h.began <- who
	select {
	case <-h.Release:
	case <-ctx.Done():
	}
}

// WantBegun waits until the handler of somebody blocks.
func (h *Hall) WantBegun(t *testing.T, who string) {
	t.Helper()
	select {
	case got := <-h.began:
		if got != who {
			t.Fatalf("the handler of %q blocks, want that of %q", got, who)
		}
	case <-time.After(slow):
		t.Fatalf("the handler of %q does not run", who)
	}
}

// WantLeft waits for the next departure.
func (h *Hall) WantLeft(t *testing.T, topic, who string, why channel.Reason) {
	t.Helper()
	want := Left(topic, who, why)
	select {
	case got := <-h.Left:
		if got != want {
			t.Errorf("HandleLeave: got %+v, want %+v", got, want)
		}
	case <-time.After(slow):
		t.Errorf("HandleLeave: got no call, want %+v", want)
	}
}

// WantAllLeft waits for departures in any order: each topic is left by itself.
func (h *Hall) WantAllLeft(t *testing.T, want ...Departure) {
	t.Helper()
	missing := map[Departure]bool{}
	for _, d := range want {
		missing[d] = true
	}
	for range want {
		select {
		case got := <-h.Left:
			if !missing[got] {
				t.Errorf("HandleLeave: got %+v, want one of %+v", got, missing)
			}
			delete(missing, got)
		case <-time.After(slow):
			t.Fatalf("HandleLeave: got no call, want %+v", missing)
		}
	}
}

// WantNobodyLeft says that no call of HandleLeave is left over.
func (h *Hall) WantNobodyLeft(t *testing.T) {
	t.Helper()
	select {
	case got := <-h.Left:
		t.Errorf("HandleLeave: got %+v, want no call", got)
	default:
	}
}

// mine is a value that blows up when it is encoded.
type mine struct{}

func (mine) MarshalJSON() ([]byte, error) { panic("password " + Secret) }
