package channels

import (
	"context"
	"fmt"
	"log"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store/boltstore"
)

// Open has the rooms kept in a file.
func Open() (*chime.Router, *boltstore.Store) {
	kept, err := boltstore.Open("chime.db", boltstore.Options{})
	if err != nil {
		log.Fatal(err) // names the file, what is wrong with it, and what to do
	}
	rt := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(kept))
	addRooms(rt)
	return rt, kept
}

// Render renders a page with what was said.
func Render(ctx context.Context, live channel.Live) {
	messages, at, err := live.History(ctx, "chat_room:42", 50)
	if err != nil {
		return
	}
	fmt.Println(len(messages), at.Epoch, at.Offset) // in the page: {"@since": at} as params of its channel
}
