package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-chime/chime/channel"
)

// What a room remembers.
const (
	roomKeep   = 1000           // messages
	roomAge    = 24 * time.Hour // after which a message is removed
	roomReplay = 50             // messages a newcomer is shown

	maxName = 100 // bytes: each join is announced to all, and its name kept
)

// ChatRoom is the channel behind the topics chat_room:{id}.
//
// A join with a name is announced to the others, as is the end of the last one of
// that name; a join without one is a silent reader. The name of a message is the one it carries, so a
// silent reader may write as well, as long as each message says who speaks: this
// is a demo where anybody may be anybody, and it does not pretend otherwise.
type ChatRoom struct {
	log *slog.Logger

	mu    sync.Mutex     // guards times
	times map[person]int // how often somebody is there
}

var errLongName = channel.Refuse(fmt.Sprintf("the name is too long: want at most %d bytes", maxName))

// person is a name in a topic.
type person struct{ topic, name string }

// said is one message, as clients send it and, with At, as a room keeps it.
// The ID is the writer's, so that a message sent again is known as the same.
type said struct {
	Name    string `json:"name"`
	Message string `json:"message"`
	ID      string `json:"id"`
	At      int64  `json:"at"` // Unix milliseconds
}

// who is the payload of a join, of user_joined and of user_left.
type who struct {
	Name string `json:"name"`
}

// HandleJoined lets everybody in.
func (c *ChatRoom) HandleJoined(_ context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	var p who
	if err := m.Decode(&p); err != nil {
		return channel.Accepted{}, err
	}
	if len(p.Name) > maxName {
		return channel.Accepted{}, errLongName
	}
	s.Assign("name", p.Name)
	c.log.Info("joined", "topic", s.Topic(), "name", shortName(p.Name), "transport", s.Transport())
	c.count(person{s.Topic(), p.Name}, 1)
	return channel.Accept(nil), nil
}

// HandleMember tells the others. Of two who join at once each is told of the other, which
// a broadcast of HandleJoined could not do: it reaches who is a member already.
func (c *ChatRoom) HandleMember(ctx context.Context, s *channel.Socket) {
	if name, _ := s.Assigned("name").(string); name != "" {
		c.announce(ctx, s, "user_joined", name)
	}
}

// HandleMessage answers message_new, echo and boom.
func (c *ChatRoom) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "message_new":
		msg, err := parseSaid(m, rand.Text())
		if err != nil {
			return nil, err
		}
		return nil, s.Broadcast(ctx, m.Event, msg, m.Once())
	case "echo":
		if m.Binary != nil {
			return channel.Binary(m.Binary), nil
		}
		return m.Payload, nil
	case "boom":
		panic("boom, as the client asked")
	}
	return nil, channel.Refuse("unknown event: want message_new, echo or boom")
}

// HandleLeave announces that a person with a name has left. A page that is reloaded
// without a network joins again before the grace period of its former client socket
// is over: the person has not left when that ends.
func (c *ChatRoom) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	name, _ := s.Assigned("name").(string)
	c.log.Info("left", "topic", s.Topic(), "name", shortName(name), "reason", string(why))
	if c.count(person{s.Topic(), name}, -1) == 0 && name != "" {
		c.announce(ctx, s, "user_left", name)
	}
}

// count returns how often p is there now.
func (c *ChatRoom) count(p person, more int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.times[p] + more
	if n == 0 {
		delete(c.times, p) // names that are no longer used must not fill the memory
		return 0
	}
	if c.times == nil {
		c.times = map[person]int{}
	}
	c.times[p] = n
	return n
}

// announce is not retained: who came an hour ago is no part of the talk.
func (c *ChatRoom) announce(ctx context.Context, s *channel.Socket, event, name string) {
	if err := s.BroadcastFrom(ctx, event, who{name}); err != nil {
		c.log.Warn("not announced", "topic", s.Topic(), "event", event, "error", err)
	}
}

// parseSaid reads a message and stamps it. Any strings will do, empty ones
// too; what is not a string is refused. A message without an id gets id.
func parseSaid(m channel.Message, id string) (said, error) {
	var p struct {
		Name    *string `json:"name"`
		Message *string `json:"message"`
		ID      *string `json:"id"`
	}
	if err := m.Decode(&p); err != nil {
		return said{}, err
	}
	if p.Name == nil || p.Message == nil {
		return said{}, channel.Refuse("malformed message: want name and message, two strings")
	}
	if len(*p.Name) > maxName {
		return said{}, errLongName
	}
	if p.ID == nil {
		p.ID = &id
	}
	return said{Name: *p.Name, Message: *p.Message, ID: *p.ID, At: time.Now().UnixMilli()}, nil
}
