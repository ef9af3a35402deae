package channels

import (
	"context"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
)

// Quiet is a room in which each client sees nothing of those it has blocked.
type Quiet struct {
	channel.AnyoneMayJoin
	channel.ListenOnly // what is said comes from the application
	channel.NothingOnLeave
	blocked map[string]map[string]bool // by who has blocked, in memory: it is asked for each client
}

// outgoing withholds what comes of somebody who is blocked.
func (q *Quiet) outgoing(_ context.Context, s *channel.Socket, m channel.Message) (any, bool) {
	var p struct {
		From string `json:"from"`
	}
	if m.Decode(&p) != nil || q.blocked[s.Identity().ID][p.From] {
		return nil, false
	}
	return m.Payload, true // as it is, without encoding it again
}

func addQuiet(live *chime.Router, q *Quiet) {
	live.Channel("quiet:{id}", q, channel.History{Keep: 1000, Replay: 50}, channel.Outgoing(q.outgoing, "message_new"))
}
