// Package channels is what docs/channels.md shows.
package channels

import (
	"context"
	"log/slog"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
)

// ChatRoom serves chat_room:{id}.
type ChatRoom struct {
	rooms Rooms // the application's own
	log   *slog.Logger
}

// HandleJoined decides who may join.
func (c *ChatRoom) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	var hello struct {
		Name string `json:"name"`
	}
	if err := m.Decode(&hello); err != nil {
		return channel.Accepted{}, err
	}
	role, err := c.rooms.RoleOf(ctx, s.Param("id"), s.Identity().ID)
	if err != nil {
		return channel.Accepted{}, err // the client reads "internal", the log the rest
	}
	if role == "" {
		return channel.Accepted{}, channel.Refuse("members only")
	}
	s.Assign("name", hello.Name)
	return channel.Accept(map[string]string{"role": role}), nil
}

// HandleMember tells the others, and the newcomer who is there.
func (c *ChatRoom) HandleMember(ctx context.Context, s *channel.Socket) {
	who := map[string]any{"name": s.Assigned("name")}
	if err := s.BroadcastFrom(ctx, "user_joined", who); err != nil {
		c.log.Warn("join not announced", "topic", s.Topic(), "error", err)
	}
	members, err := s.Members(ctx)
	if err != nil { // of a node that does not answer
		c.log.Warn("some members are not known", "topic", s.Topic(), "error", err)
	}
	var here []string
	for _, m := range members {
		here = append(here, m.Identity.ID)
	}
	_ = s.Push("here", map[string]any{"users": here}) // ErrLeft: it has gone already
}

// HandleMessage handles one message.
func (c *ChatRoom) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "message_new":
		return nil, s.Rebroadcast(ctx, m)
	case "typing":
		return nil, s.BroadcastFrom(ctx, "typing", map[string]any{"name": s.Assigned("name")})
	}
	return nil, channel.Refuse("unknown event")
}

// HandleLeave tells the others.
func (c *ChatRoom) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	who := map[string]any{"name": s.Assigned("name")}
	if err := s.Broadcast(ctx, "user_left", who, channel.Ephemeral()); err != nil {
		c.log.Warn("leave not announced", "topic", s.Topic(), "reason", string(why), "error", err)
	}
}

// Rooms is what this channel needs of the application.
type Rooms interface {
	RoleOf(ctx context.Context, room, user string) (string, error)
}

// Table is a Rooms without a database: room, user, role.
type Table map[string]map[string]string

// RoleOf returns "" for a user who is not in the room.
func (t Table) RoleOf(_ context.Context, room, user string) (string, error) {
	return t[room][user], nil
}

func addRooms(live *chime.Router) {
	rooms := Table{"42": {"user:ann": "owner", "user:bob": "guest"}}
	live.Channel("chat_room:{id}", &ChatRoom{rooms: rooms, log: slog.Default()},
		channel.History{Keep: 1000, Replay: 50})
}
