// Package readme is what README.md shows.
package readme

import (
	"context"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// ChatRoom is a channel.
type ChatRoom struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (ChatRoom) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	var said struct{ Text string }
	if err := m.Decode(&said); err != nil {
		return nil, err // the client reads what is wrong with it
	}
	line := map[string]string{"from": s.Identity().ID, "text": said.Text} // the server says who speaks
	return nil, s.Broadcast(ctx, "message_new", line)                     // to everybody in the room
}

// Mount mounts it in an app.
func Mount(r chi.Router) *chime.Router {
	whoever := func(r *http.Request) (chime.Identity, error) {
		user, _, ok := r.BasicAuth() // or what your session middleware left in r.Context()
		if !ok {
			return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "log in first")
		}
		return chime.Identity{ID: user}, nil
	}
	live := chime.NewRouter(chime.WithConnect(whoever), chime.WithStore(store.NewMemory()))
	live.Channel("chat_room:{id}", ChatRoom{}, channel.History{Keep: 1000, Replay: 50})
	r.Mount("/socket", live) // r is your chi router; http.Handle does as well
	return live
}
