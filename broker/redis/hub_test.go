package redis

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/transport"
)

// room is a channel that says on what it hears.
type room struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

type line struct {
	Text string `json:"text"`
}

func (room) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	return nil, s.Broadcast(ctx, m.Event, m.Payload)
}

// TestClientsOnTwoNodesAreInOneRoom has clients of two hubs chat, over connections that are
// cut.
func TestClientsOnTwoNodesAreInOneRoom(t *testing.T) {
	t.Parallel()
	e := redistest.Start(t, "--appendfsync", "no")
	p := newProxy(t, e)
	prefix := fresh()
	var hubs []*channeltest.Hub
	var nodes []*Broker
	for _, url := range []string{e.URL(), p.url()} {
		b, err := Open(t.Context(), url, Options{Prefix: prefix, pace: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, b)
		hub := channeltest.Open(t, channel.Config{Broker: b})
		hub.Channel("room:{id}", room{}, channel.History{Keep: 1000, Replay: 10}, channel.Presence(func(s *channel.Socket) (string, any) {
			return s.Identity().ID, nil
		}))
		hubs = append(hubs, hub)
		t.Cleanup(func() { _ = b.Close() })
	}
	ann := hubs[0].Connect(transport.Identity{ID: "ann"}).Join("room:1", nil)
	ann.Push("said", line{"before"}).WantReply(nil)
	bob := hubs[1].Connect(transport.Identity{ID: "bob"}).Join("room:1", nil)
	bob.WantBroadcast("said", line{"before"})
	ann.WantBroadcast("said", line{"before"})
	both := map[string][]struct{}{"ann": {{}}, "bob": {{}}}
	ann.WantPresence(both)
	bob.WantPresence(both)
	for round := range 5 {
		p.cut()
		for i := range 20 {
			ann.Push("said", line{fmt.Sprint(round, ".", i)}).WantReply(nil)
		}
		bob.Push("said", line{fmt.Sprint("answer ", round)}).WantReply(nil)
		for _, m := range []*channeltest.Member{bob, ann} {
			for i := range 20 {
				m.WantBroadcast("said", line{fmt.Sprint(round, ".", i)})
			}
			m.WantBroadcast("said", line{fmt.Sprint("answer ", round)})
		}
	}
	_ = nodes[1].Close()
	ann.WantPresence(map[string][]struct{}{"ann": {{}}})
}
