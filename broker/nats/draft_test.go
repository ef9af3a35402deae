package nats_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
)

// listeners are those in a room.
type listeners struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (listeners) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

// A draft is seen to grow on a node of another server than the one that writes it has, and is
// stopped there.
func TestADraftGrowsOnTwoNodes(t *testing.T) {
	t.Parallel()
	s := cluster(t)
	var hubs []*channeltest.Hub
	nodes := s.nodes(t, 2)
	for i, b := range nodes {
		hub := channeltest.Open(t, channel.Config{Broker: b, Node: broker.Node{ID: fmt.Sprint("node-", i)}, Log: quiet})
		hub.Channel("room:{id}", listeners{}, channel.History{Keep: 10})
		hubs = append(hubs, hub)
	}
	ann, bob := hubs[0].Join("room:1", nil), hubs[1].Join("room:1", nil)
	for round := range 5 {
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
		text := ""
		for range 5 {
			for range 20 {
				tokens <- "é "
				text += "é "
			}
			ann.WantDraft("answer", text)
			bob.WantDraft("answer", text)
		}
		if round == 0 { // the nodes learn of each other within seconds
			until(t, "both nodes are known", func() bool {
				list, err := nodes[1].(broker.Cluster).Nodes(t.Context())
				return err == nil && len(list) == 2
			})
		}
		hubs[1].Join("room:1", nil).WantDraft("answer", text)
		if err := hubs[1].StopDraft(t.Context(), "room:1", id); err != nil {
			t.Fatal(err)
		}
		for _, m := range []*channeltest.Member{ann, bob} {
			m.WantBroadcast("answer", map[string]string{"draft": id, "text": text})
		}
	}
}
