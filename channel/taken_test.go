package channel_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/transport"
)

// A channel that rebroadcasts whatever comes lets nobody forge what the hub says itself.
func TestEventsOfTheHubAreNotForClients(t *testing.T) {
	type options []channel.Option
	kept := channel.History{Keep: 10, Replay: 10}
	for _, c := range []struct {
		event   string
		options options
		refused bool // of a client
		sent    bool // by the application
	}{
		{"draft_start", nil, true, false},
		{"draft_delta", nil, true, false},
		{"draft_state", nil, true, false},
		{"draft_end", options{kept}, true, false},
		{"draft_saved", nil, false, true},
		{"message_redacted", options{kept}, true, true},
		{"history_forgotten", options{kept}, true, true},
		{"message_redacted", nil, false, true},
		{"message_redacted", options{channel.History{Keep: 10, Redacted: "gone"}}, false, true},
		{"gone", options{channel.History{Keep: 10, Redacted: "gone"}}, true, true},
		{"emptied", options{channel.History{Keep: 10, Forgotten: "emptied"}}, true, true},
		{"presence_diff", options{channel.Presence(how)}, true, false},
	} {
		t.Run(fmt.Sprint(c.event, " ", len(c.options)), func(t *testing.T) {
			hub := channeltest.New(t, "lobby:{id}", &lobby{}, c.options...)
			ann := hub.Connect(transport.Identity{ID: "ann"}).Join(lobbyTopic, nil)
			forged := wish{What: "rebroadcast", N: 1}
			if push := ann.Push(c.event, forged); c.refused {
				push.WantError("invalid event")
			} else {
				push.WantReply(nil)
				ann.WantBroadcast(c.event, forged)
			}
			err := hub.Broadcast(t.Context(), lobbyTopic, c.event, wish{N: 2})
			if c.sent != (err == nil) {
				t.Errorf("the application's broadcast: got %v, want it sent: %v", err, c.sent)
			}
			if err == nil {
				ann.WantBroadcast(c.event, wish{N: 2})
			}
		})
	}
}

// ear has a handler for one event.
type ear struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
	channel.Events
}

func TestAHandlerForWhatNoClientSendsIsPanicked(t *testing.T) {
	handles := func(event string) *ear {
		return &ear{Events: channel.Events{channel.On(event, func(context.Context, *channel.Socket, channel.Message) (any, error) { return nil, nil })}}
	}
	for _, c := range []struct {
		ch   channel.Channel
		keep channel.History
		want string
	}{
		{handles("delete"), channel.History{Keep: 1, Redacted: "delete"}, "no client may send it"},
		{handles("draft_end"), channel.History{Keep: 1}, "no client may send it"},
		{&lobby{}, channel.History{Keep: 1, Redacted: "draft_end"}, "a Draft sends that one"},
		{&lobby{}, channel.History{Keep: 1, Forgotten: "draft_state"}, "a Draft sends that one"},
		{handles("fine"), channel.History{Keep: 1}, ""},
	} {
		func() {
			defer func() {
				if got := recover(); got == nil != (c.want == "") || !strings.Contains(fmt.Sprint(got), c.want) && c.want != "" {
					t.Errorf("%v: got %v, want %q", c.keep, got, c.want)
				}
			}()
			channeltest.New(t, "lobby", c.ch, c.keep)
		}()
	}
}
