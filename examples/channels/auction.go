package channels

import (
	"context"

	"github.com/go-chime/chime/channel"
)

// Auction takes bids until the hammer falls.
type Auction struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

// HandleMessage takes a bidder who passes out of the topic.
func (Auction) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "bid":
		return nil, s.Rebroadcast(ctx, m)
	case "pass":
		s.Leave(nil)
		return map[string]string{"so": "long"}, nil // is read before phx_close
	}
	return nil, channel.Refuse("unknown event")
}
