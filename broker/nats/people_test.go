package nats_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
)

// A list of who is present is whole, or says on which nodes it does not know that.
func TestAListOfWhoIsPresentIsWholeOrSaysOfWhomItIsNot(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	var nodes []*nats.Broker
	for _, id := range []string{"one", "two"} {
		b := open(t, nats.Options{Server: s, Prefix: p})
		listen(t, b)
		b.StartCluster(broker.Node{ID: id}, func(context.Context, []byte) ([]byte, error) { return nil, nil })
		b.StartPresence(func(string, broker.Change) {})
		nodes = append(nodes, b)
	}
	know := func(n int) {
		t.Helper()
		until(t, "the nodes know of each other", func() bool {
			list, err := nodes[0].Nodes(t.Context())
			return err == nil && len(list) == n
		})
	}
	know(2)
	if err := nodes[1].Subscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	nodes[1].Present("a", broker.Change{Joins: []broker.Present{{Key: "ann", Ref: "r1", Meta: []byte(`{}`)}}})
	list := func(ctx context.Context) error {
		t.Helper()
		list, err := nodes[0].ListPresence(ctx, "a")
		if len(list) != 1 || list[0].Ref != "r1" {
			t.Errorf("got %+v, %v, want r1", list, err)
		}
		return err
	}
	if err := list(t.Context()); err != nil {
		t.Errorf("of two nodes that answer: %v", err)
	}
	conn, err := client.Connect("", client.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Publish(p+".node.alive", []byte(`{"Instance":"tool","Node":{}}`)); err != nil { // it has no clients
		t.Fatal(err)
	}
	if err := conn.Publish(p+".node.alive", []byte(`{"Instance":"x","Node":{"ID":"silent","Name":"host"}}`)); err != nil {
		t.Fatal(err)
	}
	know(3)
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for _, ctx := range []context.Context{short, t.Context(), t.Context()} { // the last does not wait for it again
		err := list(ctx)
		if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "silent (host)") || strings.Contains(err.Error(), "tool") {
			t.Errorf("of a node that does not answer: got %v", err)
		}
	}
}
