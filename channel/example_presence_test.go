package channel_test

import (
	"context"
	"fmt"
	"log"
	"regexp"

	"github.com/go-chime/chime/channel"
)

// What clients are sent has the shapes of Phoenix. The refs, here left out, tell the
// connections of a key apart.
func ExamplePresence() {
	var site *site
	site = open("room:{id}", room{
		message: func(ctx context.Context, s *channel.Socket, _ channel.Message) (any, error) {
			if err := s.UpdatePresence(object{"doing": "lunch"}); err != nil {
				return nil, err
			}
			list, err := site.live.Presence(ctx, s.Topic())
			if err != nil {
				return nil, err
			}
			fmt.Printf("%s is present %d time\n", list[0].Key, len(list[0].Metas))
			return nil, nil
		},
	}, channel.Presence(func(s *channel.Socket) (string, any) {
		return s.Identity().ID, object{"doing": "reading"}
	}))
	defer site.close()
	ann := site.join("ann", "room:1", `{}`).in()
	refs := regexp.MustCompile(`,"phx_ref(_prev)?":"[^"]*"`)
	show := func() {
		f, err := ann.next()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s\n", f.Event, refs.ReplaceAllString(string(f.Payload), ""))
	}
	show()
	ann.push("status", `{}`)
	ann.in() // the reply
	show()
	// Output:
	// presence_state {"ann":{"metas":[{"doing":"reading"}]}}
	// ann is present 1 time
	// presence_diff {"joins":{"ann":{"metas":[{"doing":"lunch"}]}},"leaves":{"ann":{"metas":[{"doing":"reading"}]}}}
}
