package channels

import (
	"context"
	"iter"
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/transport"
)

func TestAnAnswerGrows(t *testing.T) {
	pieces := make(chan string)
	hub := channeltest.New(t, "ask:{id}", &Oracle{answer: func(ctx context.Context, _ string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for {
				select {
				case piece := <-pieces:
					if !yield(piece, nil) {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}
	}}, channel.History{Keep: 100, Replay: 50})
	page := hub.Connect(transport.Identity{ID: "user:ann"})
	ann := page.Join("ask:1", nil)
	ann.Push("ask", map[string]string{"text": "Will it rain?"})
	pieces <- "It may "
	id := ann.WantDraft("message_new", "It may ")
	page.Close(channel.Closed) // the page is reloaded

	pieces <- "rain"
	ann = hub.Connect(transport.Identity{ID: "user:ann"}).Join("ask:1", nil)
	ann.WantDraft("message_new", "It may rain")
	bob := hub.Join("ask:1", nil)
	bob.Push("stop", map[string]string{"draft": id}).WantReply(nil)
	message := map[string]string{"draft": id, "from": "oracle", "text": "It may rain"}
	ann.WantBroadcast("message_new", message)
	hub.Join("ask:1", nil).WantBroadcast("message_new", message) // replayed
	bob.Push("stop", map[string]string{"draft": id}).WantError("no such draft")
}
