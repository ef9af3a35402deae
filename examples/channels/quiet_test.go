package channels

import (
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

func TestWhoIsBlockedIsNotSeen(t *testing.T) {
	q := &Quiet{blocked: map[string]map[string]bool{"ann": {"bob": true}}}
	addQuiet(chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory())), q)
	hub := channeltest.New(t, "quiet:{id}", q, channel.History{Keep: 1000, Replay: 50}, channel.Outgoing(q.outgoing, "message_new"))
	cid := hub.Connect(transport.Identity{ID: "cid"}).Join("quiet:1", nil)
	for _, from := range []string{"bob", "cid"} {
		message := map[string]string{"from": from, "text": "hi"}
		if err := hub.Broadcast(t.Context(), "quiet:1", "message_new", message); err != nil {
			t.Fatal(err)
		}
		cid.WantBroadcast("message_new", message)
	}
	ann := hub.Connect(transport.Identity{ID: "ann"}).Join("quiet:1", nil)
	ann.WantBroadcast("message_new", map[string]string{"from": "cid", "text": "hi"})
	ann.WantNothing()
}
