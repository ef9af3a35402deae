package redis

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/redistest"
)

// A draft is seen to grow on a node that does not write it, over a connection that is cut
// meanwhile, and is stopped there.
func TestADraftGrowsOnTwoNodes(t *testing.T) {
	t.Parallel()
	e := redistest.Start(t, "--appendfsync", "no")
	p := newProxy(t, e)
	prefix := fresh()
	var hubs []*channeltest.Hub
	var nodes []*Broker
	for i, url := range []string{e.URL(), p.url()} {
		b, err := Open(t.Context(), url, Options{Prefix: prefix, pace: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() }) // after the hub
		hub := channeltest.Open(t, channel.Config{Broker: b, Node: broker.Node{ID: []string{"writes", "watches"}[i]}})
		hub.Channel("room:{id}", room{}, channel.History{Keep: 10})
		nodes, hubs = append(nodes, b), append(hubs, hub)
	}
	up(t, nodes[1], "watches writes")
	ann, bob := hubs[0].Join("room:1", nil), hubs[1].Join("room:1", nil)
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
		p.cut()
		ann.WantDraft("answer", text)
		bob.WantDraft("answer", text)
	}
	hubs[1].Join("room:1", nil).WantDraft("answer", text)
	if err := hubs[1].StopDraft(t.Context(), "room:1", id); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*channeltest.Member{ann, bob} {
		m.WantBroadcast("answer", map[string]string{"draft": id, "text": text})
	}
}
