package channels

import (
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/transport"
)

func TestATeamSeesWhoIsThere(t *testing.T) {
	addTeam(chime.NewRouter(chime.WithAnonymous()))
	hub := channeltest.New(t, "team:{id}", &Team{}, channel.Presence(present))
	join := func(id string) *channeltest.Member {
		return hub.Connect(transport.Identity{ID: id}).Join("team:1", nil)
	}
	type here map[string][]Status
	ann, bob := join("user:ann"), join("user:bob")
	for _, m := range []*channeltest.Member{ann, bob} {
		m.WantPresence(here{"user:ann": {{"reading"}}, "user:bob": {{"reading"}}})
	}
	phone := join("user:bob")
	phone.Push("status", Status{"lunch"}).WantReply(nil)
	ann.WantPresence(here{"user:ann": {{"reading"}}, "user:bob": {{"reading"}, {"lunch"}}})
	bob.Leave()
	ann.WantPresence(here{"user:ann": {{"reading"}}, "user:bob": {{"lunch"}}})
	list, err := hub.Presence(t.Context(), "team:1")
	if err != nil || len(list) != 2 || list[1].Key != "user:bob" {
		t.Errorf("got %v and %v, want ann and bob", list, err)
	}
	phone.Leave()
	ann.WantPresence(here{"user:ann": {{"reading"}}})
	ann.WantNothing()
}
