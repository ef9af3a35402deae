package channel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// everybody may join, and says nothing.
type everybody struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (everybody) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

// three returns the hubs of three nodes.
func three(t *testing.T) (hubs []*channeltest.Hub, nodes []*brokertest.Node) {
	engine := brokertest.NewEngine(local.New(store.NewMemory()))
	for _, name := range []string{"one", "two", "three"} {
		n := engine.Node()
		hub := channeltest.Open(t, channel.Config{Broker: n, Node: broker.Node{ID: "id of " + name, Name: name, Key: "key of " + name}})
		hub.Channel("room:{id}", everybody{}, channel.History{Keep: 10})
		nodes, hubs = append(nodes, n), append(hubs, hub)
	}
	return hubs, nodes
}

func TestMembersAreThoseOfAllNodes(t *testing.T) {
	hubs, nodes := three(t)
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for i, who := range []string{"ann", "bob", "bob"} {
		hubs[i].Connect(transport.Identity{ID: who, Value: "of the application", Expires: expires}).Join("room:1", nil)
	}
	var here []string
	list, err := hubs[0].Members(t.Context(), "room:1")
	for _, m := range list {
		here = append(here, m.Node.Name+" "+m.Identity.ID)
		if mine := m.Node.Name == "one"; m.ID == "" || mine != (m.Identity.Value != nil) || !m.Identity.Expires.Equal(expires) || m.Node.Key != "" {
			t.Errorf("got %+v, want the Value of an identity on its own node only, and no key", m)
		}
	}
	slices.Sort(here)
	if want := []string{"one ann", "three bob", "two bob"}; !slices.Equal(here, want) || err != nil {
		t.Errorf("got %q, %v, want %q", here, err, want)
	}
	nodes[0].Cut()
	list, err = hubs[0].Members(t.Context(), "room:1")
	if len(list) != 1 || !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("cut off: got %v, %v, want those of this node, and %v", list, err, broker.ErrUnavailable)
	}
}

func TestDisconnectReachesAllNodes(t *testing.T) {
	hubs, _ := three(t)
	var bobs []*channeltest.Client
	for _, hub := range hubs {
		bobs = append(bobs, hub.Connect(transport.Identity{ID: "bob"}))
	}
	ann := hubs[1].Connect(transport.Identity{ID: "ann"}).Join("room:1", nil)
	if err := hubs[2].Disconnect(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	for _, bob := range bobs {
		bob.WantClosed("disconnected")
	}
	ann.WantNothing()
}

// An identity may be the bytes of a UUID.
func TestNodesTellEachOtherOfAnyIdentity(t *testing.T) {
	hubs, _ := three(t)
	const uuid = "\x00\xff\xfe\"\n<&\u2028"
	c := hubs[1].Connect(transport.Identity{ID: uuid})
	c.Join("room:1", nil)
	if list, err := hubs[0].Members(t.Context(), "room:1"); err != nil || len(list) != 1 || list[0].Identity.ID != uuid {
		t.Errorf("got %+v, %v, want the member %q", list, err, uuid)
	}
	if err := hubs[0].Disconnect(t.Context(), uuid); err != nil {
		t.Fatal(err)
	}
	c.WantClosed("disconnected")
}

// A node of another version may ask what this one does not know, and answer what it does
// not expect.
func TestNodesOfOtherVersions(t *testing.T) {
	engine := brokertest.NewEngine(local.New(nil))
	old, n := engine.Node(), engine.Node()
	old.StartCluster(broker.Node{ID: "older", Name: "old"}, func(context.Context, []byte) ([]byte, error) { return []byte("what?"), nil })
	hub := channeltest.Open(t, channel.Config{Broker: n, Node: broker.Node{ID: "newer"}})
	hub.Channel("room:{id}", everybody{})
	hub.Join("room:1", nil)
	if list, err := hub.Members(t.Context(), "room:1"); len(list) != 1 || err == nil || !strings.Contains(err.Error(), "older (old)") {
		t.Errorf("got %v, %v, want the members of this node, and an error that names the other", list, err)
	}
	for _, request := range []string{`{"weather":true}`, `{}`, `?`} {
		if answers, err := old.Ask(t.Context(), []byte(request)); err != nil || len(answers) != 1 || answers[0].Err == nil {
			t.Errorf("%s: got %v, %v, want an error from the other node", request, answers, err)
		}
	}
	answers, err := old.Ask(t.Context(), []byte(`{"members":"room:1","weather":true}`)) // more than this version knows
	if err != nil || len(answers) != 1 || answers[0].Err != nil || !strings.HasPrefix(string(answers[0].Body), "[{") {
		t.Errorf("a request with a field that is not known: got %v, %v, want the members", answers, err)
	}
}

// A node that hangs is waited for no longer than whoever asks wants to.
func TestANodeThatHangsIsNamed(t *testing.T) {
	engine := brokertest.NewEngine(local.New(nil))
	engine.Node().StartCluster(broker.Node{ID: "hangs"}, func(ctx context.Context, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	hub := channeltest.Open(t, channel.Config{Broker: engine.Node(), Node: broker.Node{ID: "waits"}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := hub.Disconnect(ctx, "bob"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "hangs") {
		t.Errorf("got %v, want that it names the node", err)
	}
}

// unnamed is a node that the others do not know.
type unnamed struct{ *brokertest.Node }

func (unnamed) Nodes(context.Context) ([]broker.Node, error) {
	return []broker.Node{{ID: "another"}}, nil
}

// A load balancer must send no client to a node that the others can't find.
func TestANodeIsWellWhenTheOthersKnowIt(t *testing.T) {
	engine := brokertest.NewEngine(local.New(nil))
	n := engine.Node()
	well := channeltest.Open(t, channel.Config{Broker: n, Node: broker.Node{ID: "known"}})
	if err := well.Health(t.Context()); err != nil {
		t.Errorf("got %v, want that it is well", err)
	}
	n.Cut()
	if err := well.Health(t.Context()); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("cut off: got %v, want %v", err, broker.ErrUnavailable)
	}
	if err := channeltest.Open(t, channel.Config{Broker: unnamed{engine.Node()}, Node: broker.Node{ID: "unknown"}}).Health(t.Context()); !errors.Is(err, channel.ErrUnnamed) {
		t.Errorf("unknown to the others: got %v, want %v", err, channel.ErrUnnamed)
	}
}

// Who says something while an engine is away can read that it may be said again, or not.
func TestClientsReadThatAnEngineIsAway(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{{broker.ErrUnavailable, "unavailable"}, {broker.ErrUncertain, "outcome unknown"}, {broker.ErrTooLarge, "message is too large"}, {errors.New("disk on fire"), "internal"}} {
		hub := channeltest.Open(t, channel.Config{Broker: failing{local.New(nil), c.err}, Log: slog.New(slog.DiscardHandler)})
		hub.Channel("room:{id}", repeats{})
		hub.Join("room:1", nil).Push("say", map[string]any{}).WantError(c.want)
	}
}

// failing is a broker that publishes nothing.
type failing struct {
	broker.Broker
	err error
}

func (f failing) Publish(context.Context, broker.Publication, *store.Retention) (store.Position, error) {
	return store.Position{}, fmt.Errorf("publish: %w", f.err)
}

// repeats rebroadcasts whatever is said.
type repeats struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (repeats) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	return nil, s.Rebroadcast(ctx, m)
}
