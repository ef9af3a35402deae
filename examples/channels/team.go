package channels

import (
	"context"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
)

func addTeam(live *chime.Router) {
	live.Channel("team:{id}", &Team{}, channel.Presence(present))
}

// present says how a client is present: who, and what others may know.
func present(s *channel.Socket) (key string, meta any) {
	return s.Identity().ID, Status{Doing: "reading"}
}

// Team is a channel whose clients say what they do.
type Team struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

// Status is what the others see of a client.
type Status struct {
	Doing string `json:"doing"`
}

// HandleMessage has a client do something else.
func (*Team) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	var in Status
	if err := m.Decode(&in); err != nil {
		return nil, err
	}
	return nil, s.UpdatePresence(in)
}
