package channel

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// scripted is a channel whose handlers a test writes where it needs them. What
// is called is noted.
type scripted struct {
	join    func(ctx context.Context, s *Socket, m Message) (Accepted, error)
	message func(ctx context.Context, s *Socket, m Message) (any, error)
	leave   func(ctx context.Context, s *Socket, why Reason)

	mu    sync.Mutex // guards calls
	calls []string
}

func (c *scripted) note(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
}

func (c *scripted) HandleJoined(ctx context.Context, s *Socket, m Message) (Accepted, error) {
	c.note("join " + s.joinRef.String())
	if c.join != nil {
		return c.join(ctx, s, m)
	}
	return Accept(nil), nil
}

func (c *scripted) HandleMessage(ctx context.Context, s *Socket, m Message) (any, error) {
	c.note(m.Event)
	if c.message != nil {
		return c.message(ctx, s, m)
	}
	return nil, nil
}

func (c *scripted) HandleLeave(ctx context.Context, s *Socket, why Reason) {
	c.note("leave " + s.joinRef.String() + " " + string(why))
	if c.leave != nil {
		c.leave(ctx, s, why)
	}
}

// wants compares the calls since the last time.
func (c *scripted) wants(t *testing.T, want ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.calls, want) {
		t.Errorf("calls: got %q, want %q", c.calls, want)
	}
	c.calls = nil
}

// stage is a hub with one channel for the topics a, b and c, and one client.
func stage(t *testing.T, ch Channel) (*Hub, *reader) {
	t.Helper()
	return stageOn(t, store.NewMemory(), ch)
}

func stageOn(t *testing.T, s store.Store, ch Channel, options ...Option) (*Hub, *reader) {
	t.Helper()
	h := NewHub(Config{Broker: local.New(s), Log: slog.New(slog.DiscardHandler), Limits: transport.Limits{InboxMessages: 8}})
	h.Channel("{topic}", ch, options...)
	r := newReader(h, "reader")
	t.Cleanup(func() {
		r.Close(0, "", Closed)
		if err := h.Wait(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h, r
}

const (
	joinOK  = `["1","1","a","phx_reply",{"status":"ok","response":{}}]`
	leaveOK = `["1","9","a","phx_reply",{"status":"ok","response":{}}]`
	closed  = `["1","1","a","phx_close",{}]`
)

func replyOK(ref string) string {
	return `["1","` + ref + `","a","phx_reply",{"status":"ok","response":{}}]`
}

func failed(reason string) string {
	return `["1","1","a","phx_error",{"reason":"` + reason + `"}]`
}

// untilCancelled blocks in the handling of "block" for as long as it may.
func untilCancelled(ctx context.Context, _ *Socket, m Message) (any, error) {
	if m.Event == "block" {
		<-ctx.Done()
	}
	return nil, nil
}
