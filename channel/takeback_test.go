package channel_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
)

// moderated is a room whose members take back what they name.
type moderated struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
	live func() channel.Live
}

func (m moderated) HandleMessage(ctx context.Context, s *channel.Socket, msg channel.Message) (any, error) {
	var in struct{ Offset uint64 }
	if err := msg.Decode(&in); err != nil {
		return nil, err
	}
	return nil, m.live().Redact(ctx, s.Topic(), in.Offset)
}

// Of two who take a message back at once the second reads why it can't.
func TestAMessageThatIsGoneIsNoFaultOfTheServer(t *testing.T) {
	var hub *channeltest.Hub
	hub = channeltest.New(t, "room:{id}", moderated{live: func() channel.Live { return hub }}, channel.History{Keep: 10})
	var at store.Position
	if err := hub.Broadcast(t.Context(), "room:1", "said", nil, channel.PositionTo(&at)); err != nil {
		t.Fatal(err)
	}
	m := hub.Join("room:1", nil)
	it := map[string]uint64{"offset": at.Offset}
	m.Push("redact", it).WantReply(nil)
	m.Push("redact", it).WantError("no such message")
	m.Push("redact", map[string]uint64{"offset": 0}).WantError("no such message")
	if err := hub.Redact(t.Context(), "room:1", at.Offset); !errors.Is(err, store.ErrNotFound) || strings.Count(err.Error(), store.ErrNotFound.Error()) != 1 {
		t.Errorf("got %v, want %v, said once", err, store.ErrNotFound)
	}
}
