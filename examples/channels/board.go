package channels

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/middleware"
)

// Board is changed by two events.
type Board struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
	channel.Events
}

// Move is the payload of move.
type Move struct {
	Card string `json:"card"`
	To   int    `json:"to"`
	Note string `json:"note,omitempty"`
}

// Validate is called when a Move has been decoded.
func (m Move) Validate() error {
	if m.To < 0 {
		return channel.Refuse(fmt.Sprintf("to: got %d, want at least 0", m.To))
	}
	return nil
}

// NewBoard returns a Board.
func NewBoard() *Board {
	b := &Board{}
	b.Events = channel.Events{
		channel.On("move", b.move),
		channel.On("rename", b.rename),
	}
	return b
}

func (b *Board) move(ctx context.Context, s *channel.Socket, m Move) (any, error) {
	return nil, s.Broadcast(ctx, "moved", m)
}

func (b *Board) rename(ctx context.Context, s *channel.Socket, in struct {
	Title string `json:"title"`
}) (any, error) {
	return nil, s.Broadcast(ctx, "renamed", in)
}

func addBoard(live *chime.Router) {
	mods := func(ctx context.Context, s *channel.Socket, m channel.Message) error {
		if s.Identity().Value != "moderator" {
			return channel.Refuse(m.Event + " is for moderators")
		}
		return nil
	}
	live.Channel("board:{id}", NewBoard(), channel.Use(
		middleware.Log(slog.Default()),    // who comes and goes, what fails; no payloads
		middleware.Timeout(5*time.Second), // of the context: the client reads "timeout"
		middleware.Limit(10, time.Second), // messages of a client in a topic: "rate_limited"
		middleware.Allow(mods, "rename"),  // who may send what
	))
}

// counted counts the messages of a channel.
type counted struct {
	channel.Channel
	messages *atomic.Int64
}

// HandleMessage counts, and goes on.
func (c counted) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	c.messages.Add(1)
	return c.Channel.HandleMessage(ctx, s, m)
}
