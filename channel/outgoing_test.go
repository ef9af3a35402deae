package channel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// listening is a channel whose clients are sent what an Outgoing says.
type listening struct {
	channel.AnyoneMayJoin
	channel.ListenOnly
	channel.NothingOnLeave
}

type line struct {
	N  int    `json:"n"`
	To string `json:"to,omitempty"`
}

// evens sends bob what is even, and tells all others who they are.
func evens(_ context.Context, s *channel.Socket, m channel.Message) (any, bool) {
	var l line
	if err := m.Decode(&l); err != nil {
		panic(err)
	}
	if s.Identity().ID == "bob" {
		return m.Payload, l.N%2 == 0
	}
	l.To = s.Identity().ID
	return l, true
}

func TestAPageIsRewrittenAsWhatIsLive(t *testing.T) {
	hub := channeltest.New(t, "room:{id}", listening{}, channel.History{Keep: 100}, channel.Outgoing(evens, "new"))
	for n := 1; n <= 4; n++ {
		if err := hub.Broadcast(t.Context(), "room:1", "new", line{N: n}); err != nil {
			t.Fatal(err)
		}
	}
	kept, at, err := hub.History(t.Context(), "room:1", 10) // of the server itself: as it is
	if err != nil || len(kept) != 4 || string(kept[0].Payload) != `{"n":1}` {
		t.Fatalf("History: got %v, %v", kept, err)
	}
	entry := func(i int, event string, payload any) obj {
		return obj{"offset": kept[i].Offset, "at": kept[i].At.UTC().Format("2006-01-02T15:04:05.000Z"), "event": event, "payload": payload}
	}
	page := func(messages ...obj) obj {
		return obj{"epoch": at.Epoch, "complete": true, "more": false, "messages": messages}
	}
	ann := hub.Connect(transport.Identity{ID: "ann"}).Join("room:1", nil)
	ann.Push("@history", nil).WantReply(page(entry(0, "new", line{1, "ann"}), entry(1, "new", line{2, "ann"}), entry(2, "new", line{3, "ann"}), entry(3, "new", line{4, "ann"})))
	bob := hub.Connect(transport.Identity{ID: "bob"}).Join("room:1", nil)
	bob.Push("@history", nil).WantReply(page(entry(0, "@position", obj{}), entry(1, "new", line{N: 2}), entry(3, "new", line{N: 4})))
	ann.WantNothing()
	bob.WantNothing()

	// A page of which all is withheld says where to go on.
	older := func(offset uint64) obj {
		return obj{"before": obj{"epoch": at.Epoch, "offset": offset}, "limit": 1}
	}
	one := func(entry obj) obj {
		return obj{"epoch": at.Epoch, "complete": true, "more": true, "messages": []obj{entry}}
	}
	bob.Push("@history", older(kept[3].Offset)).WantReply(one(entry(2, "@position", obj{})))
	bob.Push("@history", older(kept[2].Offset)).WantReply(one(entry(1, "new", line{N: 2})))
}

// What is not to be sent as it is must not be sent at all.
func TestAnOutgoingThatFails(t *testing.T) {
	for name, fails := range map[string]func() (any, bool){
		"panics":                  func() (any, bool) { panic("a bug") },
		"ends its goroutine":      func() (any, bool) { runtime.Goexit(); return nil, true },
		"returns no object":       func() (any, bool) { return 7, true },
		"can't be encoded":        func() (any, bool) { return func() {}, true },
		"panics when it encodes":  func() (any, bool) { return bomb{}, true },
		"returns a broken object": func() (any, bool) { return json.RawMessage(`{"n":`), true },
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			hub := channeltest.Open(t, channel.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
			hub.Channel("room:{id}", listening{}, channel.History{Keep: 100}, channel.Outgoing(func(_ context.Context, s *channel.Socket, m channel.Message) (any, bool) {
				if s.Identity().ID == "ann" {
					return fails()
				}
				return m.Payload, true
			}, "new"))
			anns := hub.Connect(transport.Identity{ID: "ann"})
			ann, elsewhere := anns.Join("room:1", nil), anns.Join("room:2", nil)
			bob := hub.Connect(transport.Identity{ID: "bob"}).Join("room:1", nil)
			for n := range 2 {
				if err := hub.Broadcast(t.Context(), "room:1", "new", line{N: n}); err != nil {
					t.Fatal(err)
				}
			}
			ann.WantError("channel_crash")
			for n := range 2 {
				bob.WantBroadcast("new", line{N: n})
			}
			elsewhere.Push("any", nil).WantError("listen only")
			pages := anns.Join("room:1", nil)
			pages.Push("@history", nil)
			pages.WantError("channel_crash")
			for _, m := range []*channeltest.Member{ann, pages, bob, elsewhere} {
				m.WantNothing()
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != 2 {
				t.Errorf("logged %d errors, want 2:\n%s", n, log.String())
			}
		})
	}
}

// bomb can't be encoded.
type bomb struct{}

func (bomb) MarshalJSON() ([]byte, error) { panic("a bug") }

func TestAnOutgoingThatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := channeltest.New(t, "room:{id}", listening{}, channel.Outgoing(func(ctx context.Context, s *channel.Socket, m channel.Message) (any, bool) {
			if s.Identity().ID == "ann" {
				<-ctx.Done()
			}
			return m.Payload, true
		}, "new"))
		anns := hub.Connect(transport.Identity{ID: "ann"})
		ann, elsewhere := anns.Join("room:1", nil), anns.Join("room:2", nil)
		bob := hub.Connect(transport.Identity{ID: "bob"}).Join("room:1", nil)
		for n := range 600 {
			if err := hub.Broadcast(t.Context(), "room:1", "new", line{N: n}); err != nil {
				t.Fatal(err)
			}
			bob.WantBroadcast("new", line{N: n})
		}
		ann.WantError("overloaded")
		ann.WantNothing()
		elsewhere.Push("any", nil).WantError("listen only")
	})
}

// What is retained waits in the history, and not for each client.
func TestAnOutgoingThatIsSlowIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hub := channeltest.New(t, "room:{id}", listening{}, channel.History{Keep: 1000}, channel.Outgoing(func(_ context.Context, s *channel.Socket, m channel.Message) (any, bool) {
			if s.Identity().ID == "ann" {
				<-release
			}
			return m.Payload, true
		}, "new"))
		ann := hub.Connect(transport.Identity{ID: "ann"}).Join("room:1", nil)
		bob := hub.Connect(transport.Identity{ID: "bob"}).Join("room:1", nil)
		for n := range 600 {
			if err := hub.Broadcast(t.Context(), "room:1", "new", line{N: n}); err != nil {
				t.Fatal(err)
			}
			bob.WantBroadcast("new", line{N: n})
		}
		synctest.Wait() // nobody looks again and again whether there is room
		close(release)
		for n := range 600 {
			ann.WantBroadcast("new", line{N: n})
		}
		ann.WantNothing()
	})
}

// A function that is asked of a page is not asked of what is live at the same time.
func TestAnOutgoingIsAskedOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, running := make(chan struct{}), 0 // a race, if two run
		hub := channeltest.New(t, "room:{id}", listening{}, channel.History{Keep: 100}, channel.Outgoing(func(_ context.Context, _ *channel.Socket, m channel.Message) (any, bool) {
			if running++; running > 1 {
				t.Error("two run at the same time for one client")
			}
			<-release
			running--
			return m.Payload, true
		}, "new"))
		ann := hub.Join("room:1", nil)
		if err := hub.Broadcast(t.Context(), "room:1", "new", line{N: 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		page := ann.Push("@history", nil)
		synctest.Wait()
		close(release)
		ann.WantBroadcast("new", line{N: 1})
		kept, at, err := hub.History(t.Context(), "room:1", 1)
		if err != nil {
			t.Fatal(err)
		}
		page.WantReply(obj{"epoch": at.Epoch, "complete": true, "more": false, "messages": []obj{
			{"offset": kept[0].Offset, "at": kept[0].At.UTC().Format("2006-01-02T15:04:05.000Z"), "event": "new", "payload": line{N: 1}},
		}})
	})
}

// A function that takes its time with a page holds up that topic, and no page of another one
// of its client.
func TestAnOutgoingThatIsSlowWithAPageHoldsUpNoOtherTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hub := channeltest.Open(t, channel.Config{Broker: local.New(store.NewMemory())})
		hub.Channel("slow:{id}", listening{}, channel.History{Keep: 100}, channel.Outgoing(func(_ context.Context, _ *channel.Socket, m channel.Message) (any, bool) {
			<-release
			return m.Payload, true
		}, "new"))
		hub.Channel("room:{id}", listening{}, channel.History{Keep: 100})
		for _, topic := range []string{"slow:1", "room:1"} {
			if err := hub.Broadcast(t.Context(), topic, "new", line{N: 1}); err != nil {
				t.Fatal(err)
			}
		}
		page := func(topic string) obj {
			kept, at, err := hub.History(t.Context(), topic, 1)
			if err != nil {
				t.Fatal(err)
			}
			return obj{"epoch": at.Epoch, "complete": true, "more": false, "messages": []obj{
				{"offset": kept[0].Offset, "at": kept[0].At.UTC().Format("2006-01-02T15:04:05.000Z"), "event": "new", "payload": line{N: 1}},
			}}
		}
		ann := hub.Connect(transport.Identity{ID: "ann"})
		slow, room := ann.Join("slow:1", obj{"@last": 0}), ann.Join("room:1", nil)
		late := slow.Push("@history", nil)
		synctest.Wait()
		began := time.Now()
		for range 3 {
			room.Push("@history", nil).WantReply(page("room:1"))
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("three pages of another topic took %v, want a second", took)
		}
		close(release)
		late.WantReply(page("slow:1"))
		room.Push("@history", nil).WantReply(page("room:1"))
	})
}

// A client that has left, whose page waits for a function that does not return, leaves.
func TestALeaveDoesNotWaitForAnOutgoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hub := channeltest.New(t, "room:{id}", listening{}, channel.History{Keep: 100}, channel.Outgoing(func(_ context.Context, _ *channel.Socket, m channel.Message) (any, bool) {
			<-release
			return m.Payload, true
		}, "new"))
		ann := hub.Join("room:1", nil)
		if err := hub.Broadcast(t.Context(), "room:1", "new", line{N: 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ann.Push("@history", nil)
		synctest.Wait()
		ann.Leave()
		close(release)
		ann.WantNothing()
	})
}

// A client that has left is sent nothing by a function that still runs.
func TestNothingOutgoingComesAfterALeave(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	hub := channeltest.New(t, "room:{id}", listening{}, channel.Outgoing(func(_ context.Context, _ *channel.Socket, m channel.Message) (any, bool) {
		close(begun)
		<-release
		return m.Payload, true
	}, "new"))
	ann := hub.Join("room:1", nil)
	if err := hub.Broadcast(t.Context(), "room:1", "new", line{N: 1}); err != nil {
		t.Fatal(err)
	}
	<-begun
	ann.Leave()
	close(release)
	ann.WantNothing()
}

// What may be something else for each client, or nothing, is not shown while it grows.
func TestADraftOfWhatIsRewrittenIsNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := channeltest.New(t, "room:{id}", listening{}, channel.History{Keep: 10}, channel.Outgoing(func(_ context.Context, s *channel.Socket, m channel.Message) (any, bool) {
			return m.Payload, s.Identity().ID == "ann"
		}, "answer"))
		ann, bob := hub.Connect(transport.Identity{ID: "ann"}).Join("room:1", nil), hub.Join("room:1", nil)
		for _, end := range []error{nil, channel.Refuse("unseemly")} {
			id, err := hub.Draft(t.Context(), "room:1", "answer", nil, func(_ context.Context, d *channel.Draft) error {
				for range 3 {
					if err := d.Append("so "); err != nil {
						return err
					}
					time.Sleep(time.Second)
				}
				return end
			})
			if err != nil {
				t.Fatal(err)
			}
			if end == nil {
				ann.WantBroadcast("answer", obj{"draft": id, "text": "so so so "})
			}
		}
		time.Sleep(5 * time.Second)
		for _, m := range []*channeltest.Member{ann, bob, hub.Join("room:1", nil)} {
			m.WantNothing() // no draft_start, no draft_end
		}
	})
}

func TestMistakesInAnOutgoing(t *testing.T) {
	same := func(_ context.Context, _ *channel.Socket, m channel.Message) (any, bool) { return m.Payload, true }
	for want, options := range map[string][]channel.Option{
		"the function is nil":            {channel.Outgoing(nil, "new")},
		"no event":                       {channel.Outgoing(same)},
		`event "phx_reply"`:              {channel.Outgoing(same, "phx_reply")},
		`event "new" is given twice`:     {channel.Outgoing(same, "new"), channel.Outgoing(same, "old", "new")},
		"event \"@position\": want 1 to": {channel.Outgoing(same, "@position")},
	} {
		func() {
			defer func() {
				if v := recover(); !strings.Contains(fmt.Sprint(v), want) {
					t.Errorf("got %v, want %q", v, want)
				}
			}()
			channeltest.New(t, "room:{id}", listening{}, options...)
		}()
	}
}
