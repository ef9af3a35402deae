package channels

import (
	"context"

	"github.com/go-chime/chime/channel"
)

// Whiteboard passes pictures on and answers with their size.
type Whiteboard struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

// HandleMessage wants bytes.
func (Whiteboard) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	if m.Binary == nil {
		return nil, channel.Refuse("want a picture")
	}
	return map[string]int{"bytes": len(m.Binary)}, s.Rebroadcast(ctx, m)
}
