// Package channeltest has the clients of a test of a channel: in memory, without a
// network, on the hub that serves real clients too.
//
//	hub := channeltest.New(t, "chat_room:{id}", &ChatRoom{}, channel.History{Keep: 100, Replay: 50})
//	ann := hub.Join("chat_room:1", hello{"ann"})
//	bob := hub.Join("chat_room:1", hello{"bob"})
//	ann.WantBroadcast("user_joined", hello{"bob"})
//	bob.Push("message_new", post{"hi"}).WantReply(nil)
//	ann.WantBroadcast("message_new", post{"hi"})
//
// A Want waits until what it wants has come. If no handler runs, and none has for two
// seconds, or 15 s are over, it ends the test, and says what came instead; so all methods
// are called from the goroutine of the test. They work in and outside of testing/synctest
// bubbles, in which no time is lost. When the test ends its clients leave, and it fails
// if a handler does not return then.
//
// A Hub is a [channel.Live]: what publishes or moderates from outside of channels is
// tested with it.
package channeltest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

const (
	patience  = 15 * time.Second // of a Want while handlers run: long enough for a busy machine; a test that passes does not wait for it
	idle      = 2 * time.Second  // of a Want when none runs: what may still come is of the application's own goroutines
	endsAfter = 15 * time.Second // over the 5 s for what was still to be handled and the 5 s of HandleLeave
)

// Hub is a channel.Hub for one test, and a channel.Live: it adds channels, broadcasts
// from outside of them, and reads History and Members. Connect and Join are called from
// the goroutine of the test, its other methods from any.
type Hub struct {
	*channel.Hub
	t testing.TB

	mu      sync.Mutex // guards clients
	clients []*Client
}

var _ channel.Live = (*Hub)(nil)

// New returns a hub with one channel. Its history is in memory, if a channel.History
// is among the options, and its log is that of the test.
func New(t testing.TB, pattern string, ch channel.Channel, options ...channel.Option) *Hub {
	h := Open(t, channel.Config{})
	h.Channel(pattern, ch, options...)
	return h
}

// Open returns a hub without channels, for a test that wants a broker, limits
// or a log of its own. What cfg leaves out is as in New.
func Open(t testing.TB, cfg channel.Config) *Hub {
	if cfg.Broker == nil {
		kept := store.NewMemory()
		t.Cleanup(func() { _ = kept.Close() })
		cfg.Broker = local.New(kept)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	h := &Hub{t: t}
	if cfg.Disconnect == nil {
		cfg.Disconnect = h.disconnect
	}
	h.Hub = channel.NewHub(cfg)
	t.Cleanup(func() {
		for _, c := range h.all() {
			c.Close(channel.Closed)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), endsAfter)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("a handler still runs %v after the last client has gone: %v", endsAfter, err)
		}
	})
	return h
}

// Connect opens a client.
func (h *Hub) Connect(identity transport.Identity) *Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &socket{
		t: h.t, hub: h.Hub, id: fmt.Sprintf("client-%d", len(h.clients)+1), identity: identity,
		ctx: context.WithoutCancel(h.t.Context()), came: make(chan struct{}), over: map[wire.Ref]bool{},
	}
	s.receiver = h.Accept(s)
	c := &Client{hub: h, t: h.t, socket: s}
	h.clients = append(h.clients, c)
	return c
}

// Disconnect ends all clients of an identity, as that of chime.Router does.
func (h *Hub) Disconnect(ctx context.Context, identity string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if identity == "" {
		return errors.New(`disconnect "": want the ID of an identity, which anonymous clients have not`)
	}
	return h.Hub.Disconnect(ctx, identity)
}

func (h *Hub) disconnect(identity string) {
	for _, c := range h.all() {
		if c.socket.identity.ID == identity {
			c.socket.Close(wire.CloseDisconnect, "disconnected", transport.Kicked)
		}
	}
}

func (h *Hub) all() []*Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.clients)
}

// Join opens an anonymous client that joins a topic.
func (h *Hub) Join(topic string, payload any) *Member {
	h.t.Helper()
	return h.Connect(transport.Identity{}).Join(topic, payload)
}

// rests waits until no handler runs.
func (h *Hub) rests(within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.t.Context()), within)
	defer cancel()
	return h.Wait(ctx) == nil
}
