package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// room is the channel of a node. What happens in it goes into the books.
type room struct {
	node  string // sets its visits apart from those of other nodes
	books register
	log   *nodeLog
	n     atomic.Int64
}

// register takes what happens in rooms. It is there when note has returned.
type register interface{ note(entry) }

// entry is a join that was accepted, a push of it, or its end.
type entry struct {
	Visit string    // names the join
	Who   string    // is its client
	Topic string    `json:",omitzero"`
	Push  *said     `json:",omitzero"` // that was handled
	Left  bool      `json:",omitzero"`
	Slow  *slowness `json:",omitzero"` // why it was, if it was left for it
	Fault string    `json:",omitzero"`
}

const visitKey = "visit"

// open adds the rooms of a node to its router.
func (r *room) open(live *chime.Router, options ...channel.Option) {
	live.Channel("hall:{id}", r, options...)
	live.Channel("book:{id}", r, append(options, channel.History{Keep: 1 << 30, Age: channel.Forever})...)
}

func (r *room) entry(s *channel.Socket) entry {
	visit, _ := s.Assigned(visitKey).(string)
	return entry{Visit: visit, Who: s.Identity().ID, Topic: s.Topic()}
}

func (r *room) HandleJoined(_ context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
	s.Assign(visitKey, fmt.Sprint(r.node, ".", r.n.Add(1)))
	r.books.note(r.entry(s))
	return channel.Accept(nil), nil
}

// place is the reply to what was retained.
type place struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

func (r *room) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	e := r.entry(s)
	what, err := parseSaid(m.Payload)
	if err != nil {
		e.Fault = err.Error()
	}
	e.Push = &what
	r.books.note(e)
	if m.Event == "hum" {
		return nil, s.Broadcast(ctx, "said", m.Payload, channel.Ephemeral())
	}
	var at store.Position
	if err := s.Broadcast(ctx, "said", m.Payload, channel.PositionTo(&at)); err != nil {
		return nil, err
	}
	return place(at), nil
}

func (r *room) HandleLeave(_ context.Context, s *channel.Socket, why channel.Reason) {
	e := r.entry(s)
	e.Left = true
	if why == channel.Slow {
		e.Slow = r.log.whySlow(s.ID())
	}
	r.books.note(e)
}

// logger is that of a node.
func (l *nodeLog) logger() *slog.Logger { return slog.New(l) }
