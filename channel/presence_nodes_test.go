package channel_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/transport"
)

// With a broker that joins the presences of nodes a topic has one, and no channel knows.
func TestPresenceOfSeveralNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := brokertest.NewEngine(local.New(nil))
		var (
			hubs  []*channeltest.Hub
			nodes []*brokertest.Node
		)
		for range 3 {
			nodes = append(nodes, of.Node())
			hub := channeltest.Open(t, channel.Config{Broker: nodes[len(nodes)-1]})
			hub.Channel("lobby:{id}", &lobby{}, channel.Presence(how))
			hubs = append(hubs, hub)
		}
		join := func(node int, key string) *channeltest.Member {
			return hubs[node].Connect(transport.Identity{ID: key}).Join(lobbyTopic, nil)
		}
		type all map[string][]wish
		ann := join(0, "ann")
		ann.WantPresence(all{"ann": {{}}})
		bob := join(1, "bob")
		second := join(1, "ann")
		for _, m := range []*channeltest.Member{ann, bob, second} {
			m.WantPresence(all{"ann": {{}, {}}, "bob": {{}}})
		}
		bob.Push("do", wish{What: "update", N: 7}).WantReply(nil)
		second.Leave()
		for _, m := range []*channeltest.Member{ann, bob} {
			m.WantPresence(all{"ann": {{}}, "bob": {{N: 7}}})
		}
		time.Sleep(presence.Pause)
		for i, hub := range hubs { // the last has no member
			if got := metas(t, hub, lobbyTopic); len(got) != 2 || len(got["ann"]) != 1 || got["bob"][0].N != 7 {
				t.Errorf("node %d lists %v, want ann and bob", i, got)
			}
		}
		nodes[1].Kill()
		ann.WantPresence(all{"ann": {{}}})
		ann.WantNothing()
	})
}

// half is a node that does not hear of all who are present.
type half struct{ *brokertest.Node }

var errHalf = errors.New("node x does not say who is present there")

func (h half) ListPresence(ctx context.Context, topic string) ([]broker.Present, error) {
	list, err := h.Node.ListPresence(ctx, topic)
	return list, errors.Join(err, errHalf)
}

// Half of a list is said to be one.
func TestOfThoseWhoArePresentHalfIsToldWithItsError(t *testing.T) {
	of := brokertest.NewEngine(local.New(nil))
	for _, b := range []broker.Broker{of.Node(), half{of.Node()}} {
		hub := channeltest.Open(t, channel.Config{Broker: b})
		hub.Channel("lobby:{id}", &lobby{}, channel.Presence(how))
		if _, ok := b.(half); !ok {
			hub.Connect(transport.Identity{ID: "ann"}).Join(lobbyTopic, nil).WantPresence(map[string][]wish{"ann": {{}}})
			continue
		}
		list, err := hub.Presence(t.Context(), lobbyTopic)
		if !errors.Is(err, errHalf) || len(list) != 1 || list[0].Key != "ann" {
			t.Errorf("got %v, %v, want ann, and the error of the broker", list, err)
		}
	}
}
