package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// What a room remembers.
const (
	roomKeep   = 2000           // messages
	roomAge    = 24 * time.Hour // after which a message is removed
	roomReplay = 50             // messages a newcomer is shown
)

// ChatRoom is the channel behind the topics chat_room:{id}. The pass of a guest says who
// speaks; whoever has none may read and write as well, under a name that the room gives.
type ChatRoom struct {
	channel.AnyoneMayJoin
	channel.Events
	live channel.Live
	log  *slog.Logger

	mu    sync.Mutex     // guards times
	times map[person]int // how often somebody is there
}

// person is a guest in a topic.
type person struct{ topic, id string }

// newChatRoom returns the channel. Live is the Router that it is added to.
func newChatRoom(live channel.Live, log *slog.Logger) *ChatRoom {
	c := &ChatRoom{live: live, log: log}
	c.Events = channel.Events{
		channel.On("message_new", c.say),
		channel.On("message_delete", c.takeBack),
		channel.On("typing", c.typing),
		channel.On("echo", echo),
		channel.On("boom", boom),
	}
	return c
}

// said is one message as a room keeps it. The ID is the writer's, so that a message sent
// again is known as the same.
type said struct {
	Name    string `json:"name"`
	By      string `json:"by"` // ID of the guest, or of the client socket
	Message string `json:"message"`
	ID      string `json:"id"`
	At      int64  `json:"at"` // Unix milliseconds
}

// here is what is said of a guest who is in the room.
type here struct {
	Name   string `json:"name"`
	Typing bool   `json:"typing,omitempty"`
}

// presence says by which key somebody is in the room: the tabs of a guest are one.
func presence(s *channel.Socket) (key string, meta any) {
	who := speaker(s)
	return who.ID, here{Name: who.Name}
}

// speaker is who is behind a socket. An anonymous one is named by a part of its ID.
func speaker(s *channel.Socket) guest {
	if who := bearer(s.Identity()); who.ID != "" {
		return who
	}
	return guest{s.ID(), nobody + " " + s.ID()[:4]}
}

// HandleMember announces a guest to the others. Of two who join at once each is told of the
// other, which a broadcast of HandleJoined could not do: it reaches who is a member already.
func (c *ChatRoom) HandleMember(ctx context.Context, s *channel.Socket) {
	who := speaker(s)
	c.log.Info("joined", "topic", s.Topic(), "name", shortName(who.Name), "transport", s.Transport())
	if c.count(person{s.Topic(), who.ID}, 1) == 1 {
		c.announce(ctx, s, "user_joined", who)
	}
}

// HandleLeave announces that a guest has left. A page that is reloaded without a network
// joins again before the grace period of its former client socket is over: its guest has
// not left when that ends.
func (c *ChatRoom) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	who := speaker(s)
	c.log.Info("left", "topic", s.Topic(), "name", shortName(who.Name), "reason", string(why))
	if c.count(person{s.Topic(), who.ID}, -1) == 0 {
		c.announce(ctx, s, "user_left", who)
	}
}

// count returns how often p is there now.
func (c *ChatRoom) count(p person, more int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.times[p] + more
	if n == 0 {
		delete(c.times, p) // who was here once must not fill the memory
		return 0
	}
	if c.times == nil {
		c.times = map[person]int{}
	}
	c.times[p] = n
	return n
}

// announce is not retained: who came an hour ago is no part of the talk.
func (c *ChatRoom) announce(ctx context.Context, s *channel.Socket, event string, who guest) {
	if err := s.BroadcastFrom(ctx, event, here{Name: who.Name}); err != nil {
		c.log.Warn("not announced", "topic", s.Topic(), "event", event, "error", err)
	}
}

// say has the room keep a message, and tells everybody.
func (c *ChatRoom) say(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	msg, err := parseSaid(m, speaker(s), rand.Text())
	if err != nil {
		return nil, err
	}
	return nil, s.Broadcast(ctx, m.Event, msg, m.Once())
}

// takeBack removes a message of the guest's own.
func (c *ChatRoom) takeBack(ctx context.Context, s *channel.Socket, in struct {
	Offset uint64 `json:"offset"`
}) (any, error) {
	found, err := c.at(ctx, s.Topic(), in.Offset)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, channel.Refuse("there is no such message any more")
	case found.By != speaker(s).ID:
		return nil, channel.Refuse("this message is not yours")
	}
	return nil, c.live.Redact(ctx, s.Topic(), in.Offset)
}

// at returns the message at an offset, nil if it is not kept.
func (c *ChatRoom) at(ctx context.Context, topic string, offset uint64) (*said, error) {
	page, err := c.live.HistoryBefore(ctx, topic, store.Position{Offset: offset + 1}, 1)
	if err != nil || len(page.Messages) == 0 || page.Messages[0].Offset != offset || page.Messages[0].Event != "message_new" {
		return nil, err
	}
	found := new(said)
	return found, json.Unmarshal(page.Messages[0].Payload, found)
}

// typing shows whether a guest writes.
func (c *ChatRoom) typing(_ context.Context, s *channel.Socket, in struct {
	Typing bool `json:"typing"`
}) (any, error) {
	return nil, s.UpdatePresence(here{speaker(s).Name, in.Typing})
}

// echo answers with what it was sent.
func echo(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
	if m.Binary != nil {
		return channel.Binary(m.Binary), nil
	}
	return m.Payload, nil
}

func boom(context.Context, *channel.Socket, channel.Message) (any, error) {
	panic("boom, as the client asked")
}

// parseSaid reads a message of a guest's, and stamps it. Any string will do, an empty one
// too; what is none is refused. A message without an id gets id.
func parseSaid(m channel.Message, by guest, id string) (said, error) {
	var p struct {
		Message *string `json:"message"`
		ID      *string `json:"id"`
	}
	if err := m.Decode(&p); err != nil {
		return said{}, err
	}
	if p.Message == nil {
		return said{}, channel.Refuse("malformed payload: message: missing")
	}
	if p.ID == nil {
		p.ID = &id
	}
	return said{Name: by.Name, By: by.ID, Message: *p.Message, ID: *p.ID, At: time.Now().UnixMilli()}, nil
}
