package channels

import (
	"context"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// Wall lets people write, and take back what they have written.
type Wall struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
	live channel.Live
}

// note is what everybody reads; the server says who it is from.
type note struct {
	By   string `json:"by"`
	Text string `json:"text"`
}

// HandleMessage knows two events.
func (w Wall) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	var in struct {
		Text   string `json:"text"`
		Offset uint64 `json:"offset"`
	}
	if err := m.Decode(&in); err != nil {
		return nil, err
	}
	switch m.Event {
	case "write":
		return nil, s.Broadcast(ctx, "note", note{s.Identity().ID, in.Text}, m.Once())
	case "take_back":
		if !w.wrote(ctx, s, in.Offset) {
			return nil, channel.Refuse("you have no such note")
		}
		return nil, w.live.Redact(ctx, s.Topic(), in.Offset)
	}
	return nil, channel.Refuse("unknown event")
}

// wrote reports whether the message at an offset is a note of this client's.
func (w Wall) wrote(ctx context.Context, s *channel.Socket, offset uint64) bool {
	page, err := w.live.HistoryBefore(ctx, s.Topic(), store.Position{Offset: offset + 1}, 1)
	if err != nil || len(page.Messages) == 0 || page.Messages[0].Offset != offset || page.Messages[0].Event != "note" {
		return false
	}
	var n note
	err = channel.Message{Payload: page.Messages[0].Payload}.Decode(&n)
	return err == nil && n.By == s.Identity().ID
}
