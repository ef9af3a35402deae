package channel_test

import (
	"context"
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/transport"
)

// lingering is a channel whose HandleLeave returns when the test says so.
type lingering struct {
	channel.AnyoneMayJoin
	begun, end chan struct{}
}

func newLingering() lingering {
	return lingering{begun: make(chan struct{}, 8), end: make(chan struct{}, 8)}
}

func (lingering) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

func (l lingering) HandleLeave(context.Context, *channel.Socket, channel.Reason) {
	l.begun <- struct{}{}
	<-l.end
}

func (l lingering) release() {
	for range cap(l.end) {
		l.end <- struct{}{}
	}
}

func TestRefusedRejoinTakesNoPlace(t *testing.T) {
	ch := newLingering()
	h := channeltest.Open(t, channel.Config{Limits: transport.Limits{Topics: 1, InboxMessages: 3}})
	h.Channel("room:{id}", ch)
	c := h.Connect(transport.Identity{})
	m := c.Join("room:1", nil)
	m.Leave()
	<-ch.begun
	for range 3 { // they wait behind HandleLeave, and fill the inbox
		m.Push("x", nil)
	}
	c.WantRefused("room:1", nil, "overloaded")
	ch.release()
	if err := h.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Join("room:2", nil)
}

func TestRejoinKeepsItsPlace(t *testing.T) {
	ch := newLingering()
	h := channeltest.Open(t, channel.Config{Limits: transport.Limits{Topics: 1}})
	h.Channel("room:{id}", ch)
	c := h.Connect(transport.Identity{})
	again := c.Join("room:1", nil).Push("phx_join", nil)
	<-ch.begun // of the first join, which the second has ended
	c.WantRefused("room:2", nil, "too many channels joined")
	ch.release()
	again.WantReply(nil)
}
