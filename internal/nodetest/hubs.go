// Package nodetest has hubs on several nodes share rooms, for the tests of brokers.
package nodetest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/transport"
)

// Hubs opens one on each broker, with the channel room:{id}: what is pushed there is broadcast, it
// has a history, and an identity is present by its ID.
func Hubs(t *testing.T, brokers ...broker.Broker) (hubs []*channeltest.Hub) {
	t.Helper()
	for i, b := range brokers {
		hub := channeltest.Open(t, channel.Config{Broker: b, Node: broker.Node{ID: fmt.Sprint("node-", i)}})
		hub.Channel("room:{id}", room{}, channel.History{Keep: 1000, Replay: 10}, channel.Presence(func(s *channel.Socket) (string, any) {
			return s.Identity().ID, nil
		}))
		hubs = append(hubs, hub)
	}
	return hubs
}

type room struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (room) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	return nil, s.Broadcast(ctx, m.Event, m.Payload)
}

// Join has somebody join room:1.
func Join(hub *channeltest.Hub, who string) *channeltest.Member {
	return hub.Connect(transport.Identity{ID: who}).Join("room:1", nil)
}

// DraftGrows has the first of two hubs write a draft, which grows on both, is shown to who joins on
// the second, and is stopped there. Disturb is called now and then while it grows. The nodes have
// heard of each other.
func DraftGrows(t *testing.T, hubs []*channeltest.Hub, disturb func()) {
	t.Helper()
	ann, bob := Join(hubs[0], "ann"), Join(hubs[1], "bob")
	tokens := make(chan string)
	id, err := hubs[0].Draft(t.Context(), "room:1", "answer", nil, func(ctx context.Context, d *channel.Draft) error {
		for {
			select {
			case token := <-tokens:
				if err := d.Append(token); err != nil {
					return err
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	const token, each = "é ", 20
	text := ""
	for n := range 5 {
		for range each {
			tokens <- token
		}
		text = strings.Repeat(token, each*(n+1))
		disturb()
		ann.WantDraft("answer", text)
		bob.WantDraft("answer", text)
	}
	Join(hubs[1], "cid").WantDraft("answer", text)
	if err := hubs[1].StopDraft(t.Context(), "room:1", id); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*channeltest.Member{ann, bob} {
		m.WantBroadcast("answer", map[string]string{"draft": id, "text": text})
	}
}
