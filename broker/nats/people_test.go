package nats_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
)

// counting counts what a node publishes by a subject. Each is written in one piece.
type counting struct {
	subject string
	times   atomic.Int64
}

func (c *counting) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return counted{conn, c}, err
}

type counted struct {
	net.Conn
	by *counting
}

func (c counted) Write(p []byte) (int, error) {
	c.by.times.Add(int64(bytes.Count(p, []byte("PUB "+c.by.subject+" "))))
	return c.Conn.Write(p)
}

// A node that can't be asked who is present on it, as it was killed, is asked once, and not again
// and again until it counts as gone; and again when it is heard of.
func TestANodeThatIsNotThereIsAskedOnce(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	c := &counting{subject: p + ".node.list.x"}
	b := open(t, nats.Options{URL: s.URL(), Prefix: p, Connect: []client.Option{client.SetCustomDialer(c)}})
	listen(t, b)
	b.StartCluster(broker.Node{ID: "one"}, func(context.Context, []byte) ([]byte, error) { return nil, nil })
	b.StartPresence(func(string, broker.Change) {})
	if err := b.Subscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	conn, err := client.Connect("", client.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	publish := func(subject, body string) {
		t.Helper()
		if err := conn.Publish(p+subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the node knows of the other", func() bool {
		publish(".node.alive", `{"Instance":"x","Node":{"ID":"killed"}}`) // it may not listen yet
		list, err := b.Nodes(t.Context())
		return err == nil && len(list) == 2
	})
	for n, says := range []struct{ subject, body string }{
		{".who.tYQ", `{"Instance":"x","Version":7}`}, // the topic is "a"
		{".who.tYQ", `{"Instance":"x","Version":8}`},
		{".node.alive", `{"Instance":"x","Node":{"ID":"killed"},"People":true}`},
	} {
		n := int64(n + 1)
		publish(says.subject, says.body)
		until(t, "the other is asked", func() bool { return c.times.Load() >= n })
		for range 100 { // round trips, as the question is one
			if err := b.Health(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.times.Load(); got != n {
			t.Errorf("the node that is not there was asked %d times, want %d", got, n)
		}
	}
}

// A node that has said that it leaves does not say after that that it is up, to one that has just
// begun and asks: it would be named, and asked, until it counts as gone.
func TestANodeThatLeavesSaysNothingMore(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	b := open(t, nats.Options{Server: s, Prefix: p})
	listen(t, b)
	conn, err := client.Connect("", client.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard, err := conn.SubscribeSync(p + ".node.alive")
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	nats.Beat(b)
	nats.Leave(b)
	nats.Beat(b)
	if err := b.Health(t.Context()); err != nil { // what it has said is with the server
		t.Fatal(err)
	}
	if err := conn.Publish(p+".node.alive", []byte("end")); err != nil {
		t.Fatal(err)
	}
	last := ""
	for {
		m, err := heard.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) == "end" {
			break
		}
		last = string(m.Data)
	}
	if !strings.Contains(last, `"Left":true`) {
		t.Errorf("the last that the node said is %s, want that it leaves", last)
	}
}

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
