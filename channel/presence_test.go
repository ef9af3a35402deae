package channel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/transport"
)

// lobby does what its clients ask for.
type lobby struct {
	mu   sync.Mutex // guards late
	late []error    // of UpdatePresence in HandleLeave
}

// wish is the payload of a join, and of a message.
type wish struct {
	What string `json:"what,omitempty"`
	N    int    `json:"n,omitempty"`
}

func (l *lobby) HandleJoined(_ context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	var w wish
	if err := m.Decode(&w); err != nil {
		return channel.Accepted{}, err
	}
	s.Assign("wish", w)
	switch w.What {
	case "refuse":
		return channel.Accepted{}, channel.Refuse("no")
	case "panic":
		panic("join")
	case "no reply":
		return channel.Accept([]int{1}), nil
	}
	return channel.Accept(nil), nil
}

func (l *lobby) HandleMember(_ context.Context, s *channel.Socket) {
	switch w, _ := s.Assigned("wish").(wish); w.What {
	case "panic as member":
		panic("member")
	case "leave as member":
		s.Leave(nil)
	}
}

func (l *lobby) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	var w wish
	if err := m.Decode(&w); err != nil {
		return nil, err
	}
	switch w.What {
	case "panic":
		panic("message")
	case "update":
		return nil, s.UpdatePresence(wish{N: w.N})
	case "leave":
		s.Leave(channel.Refuse("enough"))
		return nil, nil
	case "rebroadcast":
		return nil, s.Rebroadcast(ctx, m)
	}
	return nil, nil
}

func (l *lobby) HandleLeave(_ context.Context, s *channel.Socket, _ channel.Reason) {
	err := s.UpdatePresence(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, err)
}

// how is how a client of the lobby is present: by its identity.
func how(s *channel.Socket) (string, any) {
	w, _ := s.Assigned("wish").(wish)
	switch w.What {
	case "panic in presence":
		panic("presence")
	case "no key":
		return "", nil
	case "no meta":
		return "ann", make(chan int)
	}
	return s.Identity().ID, wish{N: w.N}
}

const lobbyTopic = "lobby:1"

// metas are those of a topic by key, without their refs.
func metas(t *testing.T, live channel.Live, topic string) map[string][]wish {
	t.Helper()
	list, err := live.Presence(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]wish{}
	for _, p := range list {
		for _, meta := range p.Metas {
			var w wish
			if err := json.Unmarshal(meta, &w); err != nil {
				t.Fatal(err)
			}
			all[p.Key] = append(all[p.Key], w)
		}
	}
	return all
}

// Clients join, join again, are refused, update, leave, are thrown out, panic and vanish
// at random. There is no ghost, and nobody is missing: neither in what is listed, nor in
// what any client sees.
func TestPresenceOfClientsAtRandom(t *testing.T) {
	need.Bubbles(t, 40, 300, presenceAtRandom)
}

func presenceAtRandom(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	hub, rooms := channeltest.Open(t, channel.Config{}), &lobby{}
	options := []channel.Option{channel.Presence(how)}
	if r.IntN(2) == 0 {
		options = append(options, channel.History{Keep: 10, Replay: 5})
	}
	hub.Channel("lobby:{id}", rooms, options...)
	type client struct {
		*channeltest.Client
		key    string
		member *channeltest.Member // nil: it is not in
		n      int
	}
	var clients []*client
	ways := []string{"refuse", "panic", "no reply", "panic as member", "leave as member", "panic in presence", "no key", "no meta"}
	for range 60 {
		if len(clients) == 0 || r.IntN(5) == 0 {
			key := []string{"ann", "bob", "__proto__"}[r.IntN(3)]
			clients = append(clients, &client{Client: hub.Connect(transport.Identity{ID: key}), key: key})
		}
		i := r.IntN(len(clients))
		c := clients[i]
		switch r.IntN(7) {
		case 0, 1, 2: // join, or join again
			c.n = r.IntN(3)
			c.member = c.Join(lobbyTopic, wish{N: c.n})
		case 3: // a join that comes to nothing ends the one before
			way := ways[r.IntN(len(ways))]
			c.member = nil
			switch way {
			case "panic as member", "leave as member":
				m := c.Join(lobbyTopic, wish{What: way})
				if way == "leave as member" {
					m.WantLeft()
				} else {
					m.WantError("channel_crash")
				}
			case "refuse":
				c.WantRefused(lobbyTopic, wish{What: way}, "no")
			case "panic":
				c.WantRefused(lobbyTopic, wish{What: way}, "join crashed")
			default:
				c.WantRefused(lobbyTopic, wish{What: way}, "internal")
			}
		case 4:
			if c.member != nil {
				c.n = r.IntN(3)
				c.member.Push("do", wish{What: "update", N: c.n}).WantReply(nil)
			}
		case 5: // out of the topic
			if c.member == nil {
				continue
			}
			switch m := c.member; r.IntN(3) {
			case 0:
				m.Leave()
			case 1:
				m.Push("do", wish{What: "panic"})
				m.WantError("channel_crash")
			case 2:
				m.Push("do", wish{What: "leave"}).WantReply(nil)
				m.WantError("enough")
			}
			c.member = nil
		case 6: // gone for good
			switch r.IntN(4) {
			case 0:
				c.Close([]channel.Reason{channel.Closed, channel.Vanished, channel.Drained}[r.IntN(3)])
				clients = slices.Delete(clients, i, i+1)
			case 1:
				if err := hub.Disconnect(t.Context(), c.key); err != nil {
					t.Error(err)
				}
				clients = slices.DeleteFunc(clients, func(other *client) bool { return other.key == c.key })
			default:
				time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond)
			}
		}
	}
	synctest.Wait()
	time.Sleep(2 * presence.Pause)
	synctest.Wait()
	want := map[string][]wish{}
	for _, c := range clients {
		if c.member != nil {
			want[c.key] = append(want[c.key], wish{N: c.n})
		}
	}
	got := metas(t, hub, lobbyTopic)
	if !maps.EqualFunc(got, want, func(a, b []wish) bool { return sameInAnyOrder(a, b) }) {
		t.Errorf("present: got %v, want %v", got, want)
	}
	for _, c := range clients {
		if c.member != nil {
			c.member.WantPresence(got)
		}
	}
	for _, c := range clients {
		c.Close(channel.Vanished)
	}
	synctest.Wait()
	if got := metas(t, hub, lobbyTopic); len(got) != 0 {
		t.Errorf("when all have gone: got %v, want nobody", got)
	}
	for _, err := range rooms.late {
		if !errors.Is(err, channel.ErrLeft) {
			t.Errorf("UpdatePresence in HandleLeave: got %v, want %v", err, channel.ErrLeft)
		}
	}
}

func sameInAnyOrder(a, b []wish) bool {
	order := func(a, b wish) int { return a.N - b.N }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

func TestPresenceOptionsArePanicked(t *testing.T) {
	for _, c := range []struct {
		options []channel.Option
		want    string
	}{
		{[]channel.Option{channel.Presence(nil)}, "the function is nil"},
		{[]channel.Option{channel.Presence(how), channel.Presence(how)}, "given twice"},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, c.want) {
					t.Errorf("got %s, want %q", got, c.want)
				}
			}()
			channel.NewHub(channel.Config{}).Channel("lobby", &lobby{}, c.options...)
		}()
	}
}

// What tells who is present is sent by nobody else: neither by a client, nor by a channel.
func TestEventsOfPresenceAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := channeltest.New(t, "lobby:{id}", &lobby{}, channel.Presence(how))
		hub.Channel("plain", &lobby{})
		ann := hub.Connect(transport.Identity{ID: "ann"}).Join(lobbyTopic, nil)
		for _, event := range []string{"presence_state", "presence_diff"} {
			ann.Push(event, wish{What: "rebroadcast"}).WantError("invalid event")
			_, drafted := hub.Draft(t.Context(), lobbyTopic, event, nil, nil)
			for _, err := range []error{hub.Broadcast(t.Context(), lobbyTopic, event, nil), drafted} {
				if err == nil || !strings.Contains(err.Error(), "has a Presence") {
					t.Errorf("%s: got %v, want an error", event, err)
				}
			}
			plain := hub.Join("plain", nil)
			plain.Push(event, wish{What: "rebroadcast"}).WantReply(nil)
			plain.WantBroadcast(event, wish{What: "rebroadcast"})
		}
		ann.WantPresence(map[string][]wish{"ann": {{}}})
		ann.WantNothing()
	})
}

func TestWithoutPresenceThereIsNone(t *testing.T) {
	hub := channeltest.New(t, "plain", &lobby{})
	if _, err := hub.Presence(t.Context(), "plain"); !errors.Is(err, channel.ErrNoPresence) {
		t.Errorf("got %v, want %v", err, channel.ErrNoPresence)
	}
	if _, err := hub.Presence(t.Context(), "other"); !errors.Is(err, channel.ErrNoChannel) {
		t.Errorf("got %v, want %v", err, channel.ErrNoChannel)
	}
	hub.Join("plain", nil).Push("do", wish{What: "update"}).WantError("internal")
}
