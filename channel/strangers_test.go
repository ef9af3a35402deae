package channel_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/nodetest"
	"github.com/go-chime/chime/transport"
)

// diary is the log of a node.
type diary struct{ nodetest.Log }

func (d *diary) warnings(of string) int {
	n := 0
	for line := range strings.Lines(d.String()) {
		if strings.Contains(line, "serves none of the channels of this one") && strings.Contains(line, "node="+of) {
			n++
		}
	}
	return n
}

// node opens a hub of an application with these channels.
func (d *diary) node(t *testing.T, n *brokertest.Node, name string, patterns ...string) *channeltest.Hub {
	hub := channeltest.Open(t, channel.Config{Broker: n, Node: broker.Node{ID: name}, Log: d.Logger()})
	for _, p := range patterns {
		hub.Channel(p, everybody{})
	}
	return hub
}

// Two applications with one prefix are told so, each by its own log; two versions of one, and
// nodes that serve nothing yet, are not.
func TestAnotherApplicationOnTheSamePrefixIsNamed(t *testing.T) {
	for _, c := range []struct {
		name   string
		theirs []string
		warns  int
	}{
		{"of another application", []string{"game:{id}", "lobby"}, 1},
		{"of the same", []string{"room:{id}", "news"}, 0},
		{"of another version", []string{"news", "desk:{id}"}, 0},
		{"without channels", nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := brokertest.NewEngine(local.New(nil))
				var here, there diary
				one := here.node(t, engine.Node(), "one", "room:{id}", "news")
				two := there.node(t, engine.Node(), "two", c.theirs...)
				for range 3 {
					one.Connect(transport.Identity{ID: "ann"})
					two.Connect(transport.Identity{ID: "bob"})
					synctest.Wait()
				}
				if a, b := here.warnings("two"), there.warnings("one"); a != c.warns || b != c.warns {
					t.Errorf("got %d and %d warnings, want %d each:\n%s%s", a, b, c.warns, here.String(), there.String())
				}
			})
		})
	}
}

// A look that not all have answered is repeated, and not at each client.
func TestStrangersAreLookedForUntilAllHaveAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := brokertest.NewEngine(local.New(nil))
		var here, there diary
		n := engine.Node()
		one := here.node(t, n, "one", "room:{id}")
		two := there.node(t, engine.Node(), "two", "game:{id}")
		connect := func(hub *channeltest.Hub) {
			hub.Connect(transport.Identity{ID: "ann"})
			synctest.Wait()
		}
		connect(two)
		n.Cut()
		connect(one)
		n.Heal()
		connect(one)
		if got := here.warnings("two"); got != 0 {
			t.Errorf("got %d warnings in the same minute, want none yet", got)
		}
		time.Sleep(time.Minute)
		connect(one)
		if got := here.warnings("two"); got != 1 {
			t.Errorf("got %d warnings after another look, want 1", got)
		}
	})
}
