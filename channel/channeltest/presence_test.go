package channeltest_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/transport"
)

type seat struct {
	Seat int `json:"seat"`
}

// seated has clients present by their identity, each in the seat of its ID's length.
func seated(s *channel.Socket) (string, any) { return s.Identity().ID, seat{len(s.Identity().ID)} }

func TestWhoIsPresentIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := channeltest.New(t, "chat_room:{id}", ChatRoom{}, channel.Presence(seated))
		join := func(id string) *channeltest.Member {
			m := hub.Connect(transport.Identity{ID: id}).Join("chat_room:1", hello{id})
			m.WantPush("welcome", hello{id})
			return m
		}
		ann := join("ann")
		ann.WantPresence(map[string][]seat{"ann": {{3}}})
		ann.WantPresence(map[string][]seat{"ann": {{3}}}) // as before
		ann.WantNothing()
		bob := join("bob")
		bob.WantPresence(map[string][]seat{"ann": {{3}}, "bob": {{3}}})
		ann.WantBroadcast("user_joined", hello{"bob"}) // other events stay for other Wants
		bob.Leave()
		ann.WantPresence(map[string][]seat{"ann": {{3}}}) // not as before he came
		ann.WantBroadcast("user_left", map[string]string{"name": "bob", "why": "left"})
		ann.WantNothing()
		ann.Leave()
	})
}

func TestAWantedPresenceThatDoesNotComeSaysWhatIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := &failing{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			hub := channeltest.New(failed, "chat_room:{id}", ChatRoom{}, channel.Presence(seated))
			ann := hub.Connect(transport.Identity{ID: "ann"}).Join("chat_room:1", hello{"ann"})
			ann.WantPush("welcome", hello{"ann"})
			ann.WantPresence(map[string][]seat{"ann": {{3}}})
			hub.Connect(transport.Identity{ID: "eve"}).Join("chat_room:1", hello{"eve"})
			ann.WantBroadcast("user_joined", hello{"eve"})
			ann.WantPresence(map[string][]seat{"ann": {{3}}}) // no longer, though nothing has come yet
		}()
		<-done
		const want = `client-1: got nothing, and no handler has run for 2s, want presence {"ann":[{"seat":3}]}; sees {"ann":[{"seat":3}],"eve":[{"seat":3}]}`
		if !strings.Contains(failed.said, want) {
			t.Errorf("got the failure %q, want %q in it", failed.said, want)
		}
	})
}
