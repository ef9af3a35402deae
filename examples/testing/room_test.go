package testing

import (
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/transport"
)

func TestRoom(t *testing.T) {
	hub := channeltest.New(t, "chat_room:{id}", Room{}, channel.History{Keep: 100, Replay: 50})
	hi := map[string]string{"text": "hi"}

	ann := hub.Join("chat_room:1", nil) // an anonymous client
	ann.Push("message_new", hi).WantReply(nil)
	ann.WantBroadcast("message_new", hi)
	ann.Push("message_old", nil).WantError("unknown event")

	bobs := hub.Connect(transport.Identity{ID: "user:bob"})
	bob := bobs.Join("chat_room:1", nil)
	bob.WantBroadcast("message_new", hi) // replayed
	bob.Leave()
	ann.WantBroadcast("user_left", map[string]string{"why": "left"})

	bobs.Join("chat_room:1", nil)
	bobs.Close(channel.Vanished) // its network is down
	ann.WantBroadcast("user_left", map[string]string{"why": "vanished"})
	ann.WantNothing()
}
