package testing

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
)

func TestRoomForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := channeltest.New(t, "chat_room:{id}", Room{}, channel.History{Keep: 100, Age: time.Hour, Replay: 50})
		hub.Join("chat_room:1", nil).Push("message_new", nil).WantReply(nil)
		time.Sleep(time.Hour) // no time passes outside
		hub.Join("chat_room:1", nil).WantNothing()
	})
}
