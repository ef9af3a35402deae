// Package testing is what docs/testing.md shows.
package testing

import (
	"context"

	"github.com/go-chime/chime/channel"
)

// Room is the channel under test.
type Room struct{ channel.AnyoneMayJoin }

// HandleMessage knows one event.
func (Room) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	if m.Event != "message_new" {
		return nil, channel.Refuse("unknown event")
	}
	return nil, s.Rebroadcast(ctx, m)
}

// HandleLeave tells the others.
func (Room) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	_ = s.Broadcast(ctx, "user_left", map[string]string{"why": string(why)}, channel.Ephemeral())
}
