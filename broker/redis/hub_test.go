package redis

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/nodetest"
	"github.com/go-chime/chime/internal/redistest"
)

// nearAndFar are two nodes, of which the second reaches the engine by a proxy.
func nearAndFar(t *testing.T) ([]*Broker, *proxy) {
	t.Helper()
	e := redistest.Start(t, "--appendfsync", "no")
	p := newProxy(t, e)
	o := Options{Prefix: fresh(), pace: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
	return []*Broker{open(t, e.URL(), o), open(t, p.url(), o)}, p
}

type line struct {
	Text string `json:"text"`
}

// TestClientsOnTwoNodesAreInOneRoom has clients of two hubs chat, over connections that are
// cut.
func TestClientsOnTwoNodesAreInOneRoom(t *testing.T) {
	t.Parallel()
	nodes, p := nearAndFar(t)
	hubs := nodetest.Hubs(t, nodes[0], nodes[1])
	ann := nodetest.Join(hubs[0], "ann")
	ann.Push("said", line{"before"}).WantReply(nil)
	bob := nodetest.Join(hubs[1], "bob")
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
