package channeltest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// ChatRoom is a channel as an application has it.
type ChatRoom struct{}

type hello struct {
	Name string `json:"name"`
}

type post struct {
	Text string `json:"text"`
}

func (ChatRoom) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	var who hello
	if err := m.Decode(&who); err != nil || who.Name == "" {
		return channel.Accepted{}, channel.Refuse("a name is needed")
	}
	s.Assign("name", who.Name)
	if err := s.Push("welcome", who); err != nil {
		return channel.Accepted{}, err
	}
	return channel.Accept(map[string]string{"room": s.Param("id")}), s.Broadcast(ctx, "user_joined", who, channel.Ephemeral())
}

func (ChatRoom) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "message_new":
		return nil, s.Rebroadcast(ctx, m)
	case "typing":
		return nil, s.BroadcastFrom(ctx, "typing", m.Payload)
	case "echo":
		if m.Binary != nil {
			return channel.Binary(m.Binary), nil
		}
		return m.Payload, nil
	case "who":
		return s.Identity().Value, nil
	case "later":
		go func() { _ = s.Reply(m, post{"later"}, nil) }()
		return channel.Later, nil
	case "boom":
		panic("boom")
	case "finish":
		s.Leave(nil)
		return post{"that was all"}, nil
	case "move":
		s.Leave(channel.Refuse("moved"))
		return channel.Later, nil
	case "fatal":
		runtime.Goexit() // as t.Fatal does
	case "kick":
		s.Disconnect("kicked")
		return nil, nil
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, errors.New("no such event: a secret")
}

func (ChatRoom) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	_ = s.Broadcast(ctx, "user_left", map[string]any{"name": s.Assigned("name"), "why": why}, channel.Ephemeral())
}

// The test that an application would write.
func TestChatRoom(t *testing.T) {
	hub := channeltest.New(t, "chat_room:{id}", ChatRoom{}, channel.History{Keep: 100, Replay: 50})

	ann := hub.Join("chat_room:1", hello{"ann"})
	ann.WantReply(map[string]string{"room": "1"})
	ann.WantPush("welcome", hello{"ann"})
	ann.Push("message_new", post{"hi"}).WantReply(nil)
	ann.WantBroadcast("message_new", post{"hi"})

	bob := hub.Connect(transport.Identity{ID: "bob", Value: post{"the builder"}}).Join("chat_room:1", hello{"bob"})
	bob.WantBroadcast("message_new", post{"hi"}) // replayed
	ann.WantBroadcast("user_joined", hello{"bob"})
	bob.Push("who", nil).WantReply(post{"the builder"})
	bob.Push("typing", hello{"bob"}).WantReply(nil)
	ann.WantBroadcast("typing", hello{"bob"})
	ann.Push("nonsense", nil).WantError("internal") // what else the error says is for the log
	hub.Connect(transport.Identity{}).WantRefused("chat_room:1", nil, "a name is needed")
	hub.Connect(transport.Identity{}).WantRefused("elsewhere", nil, "unmatched topic")

	bob.Leave()
	ann.WantBroadcast("user_left", map[string]string{"name": "bob", "why": "left"})
	if err := hub.Broadcast(t.Context(), "chat_room:1", "message_new", post{"from outside"}); err != nil {
		t.Fatal(err)
	}
	ann.WantBroadcast("message_new", post{"from outside"})
	ann.WantNothing()
	bob.WantPush("welcome", hello{"bob"})
	bob.WantNothing()
}

func TestWhatAClientSees(t *testing.T) {
	room := func(t *testing.T) (ann, bob *channeltest.Member, bobs *channeltest.Client) {
		hub := channeltest.New(t, "chat_room:{id}", ChatRoom{})
		ann = hub.Join("chat_room:1", hello{"ann"})
		bobs = hub.Connect(transport.Identity{})
		return ann, bobs.Join("chat_room:1", hello{"bob"}), bobs
	}
	left := func(why channel.Reason) any { return map[string]any{"name": "bob", "why": why} }

	for _, crash := range []string{"boom", "fatal"} {
		t.Run("a handler that does not return ends the join: "+crash, func(t *testing.T) {
			ann, bob, bobs := room(t)
			bob.Push(crash, nil)
			behind := bob.Push("echo", nil)
			bob.WantError("channel_crash")
			behind.WantError("unmatched topic")
			ann.WantBroadcast("user_left", left(channel.Panicked))
			bobs.Join("chat_room:1", hello{"bob"}).Push("echo", post{"back"}).WantReply(post{"back"})
		})
	}
	t.Run("the channel ends the join", func(t *testing.T) {
		ann, bob, bobs := room(t)
		bob.Push("finish", nil).WantReply(post{"that was all"})
		bob.WantLeft()
		ann.WantBroadcast("user_left", left(channel.Left))
		bob.Push("echo", nil).WantError("unmatched topic")
		bob = bobs.Join("chat_room:1", hello{"bob"})
		bob.Push("move", nil)
		bob.WantError("moved")
		ann.WantBroadcast("user_left", left(channel.Left))
	})
	t.Run("a second join replaces the first", func(t *testing.T) {
		ann, bob, bobs := room(t)
		again := bobs.Join("chat_room:1", hello{"bob"})
		ann.WantBroadcast("user_left", left(channel.Replaced))
		bob.WantPush("phx_close", nil)
		again.Push("echo", nil).WantReply(nil)
	})
	t.Run("Disconnect closes the client socket", func(t *testing.T) {
		ann, bob, bobs := room(t)
		bob.Push("kick", nil)
		bobs.WantClosed("kicked")
		ann.WantBroadcast("user_left", left(channel.Kicked))
	})
	t.Run("the client goes", func(t *testing.T) {
		ann, _, bobs := room(t)
		bobs.Close(channel.Vanished)
		ann.WantBroadcast("user_left", left(channel.Vanished))
	})
	t.Run("a reply comes later", func(t *testing.T) {
		ann, _, _ := room(t)
		late := ann.Push("later", nil)
		ann.Push("echo", post{"now"}).WantReply(post{"now"})
		late.WantReply(post{"later"})
	})
	t.Run("binary payloads", func(t *testing.T) {
		ann, bob, _ := room(t)
		ann.Push("message_new", channel.Binary("\x00\xff")).WantReply(nil)
		bob.WantBroadcast("message_new", channel.Binary("\x00\xff"))
		bob.Push("echo", channel.Binary("\x01")).WantReply(channel.Binary("\x01"))
	})
}

// Canvas lets everybody in with a picture.
type Canvas struct {
	ChatRoom
}

func (Canvas) HandleJoined(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
	return channel.Accept(channel.Binary("\x89PNG")), nil
}

func TestABinaryReplyToAJoin(t *testing.T) {
	channeltest.New(t, "canvas:{id}", Canvas{}).Join("canvas:1", nil).WantReply(channel.Binary("\x89PNG"))

	var log strings.Builder
	hub := channeltest.Open(t, channel.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	hub.Channel("canvas:{id}", Canvas{}, channel.History{Keep: 1})
	hub.Connect(transport.Identity{}).WantRefused("canvas:1", nil, "internal")
	const want = `level=ERROR msg="reply to a join can't be sent" topic=canvas:1 client=client-1 error="reply is Binary: want a JSON object, since the channel has a History, whose @history goes into it"`
	if !strings.Contains(log.String(), want) {
		t.Errorf("logged %q, want %s", log.String(), want)
	}
}

func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := channeltest.New(t, "chat_room:{id}", ChatRoom{}, channel.History{Keep: 10, Replay: 10, Age: time.Hour})
		ann := hub.Join("chat_room:1", hello{"ann"})
		ann.Push("message_new", post{"hi"}).WantReply(nil)
		hub.Join("chat_room:1", hello{"bob"}).WantBroadcast("message_new", post{"hi"})
		time.Sleep(time.Hour)
		cid := hub.Join("chat_room:1", hello{"cid"})
		cid.WantPush("welcome", hello{"cid"})
		cid.WantNothing()
		ann.Push("wait", nil) // its context ends 5 s after the client has gone, with the test
	})
}

// moderator is code of an application that works from outside of channels.
type moderator struct{ live channel.Live }

func (m moderator) ban(ctx context.Context, user, topic string) error {
	messages, _, err := m.live.History(ctx, topic, 100)
	if err != nil {
		return err
	}
	for _, message := range messages {
		if message.Event != "message_new" {
			continue
		}
		if err := m.live.Redact(ctx, topic, message.Offset); err != nil {
			return err
		}
	}
	if err := m.live.Disconnect(ctx, user); err != nil {
		return err
	}
	return m.live.Broadcast(ctx, topic, "banned", hello{user})
}

func TestModerationAcrossTopics(t *testing.T) {
	hub := channeltest.New(t, "chat_room:{id}", ChatRoom{}, channel.History{Keep: 10, Replay: 10})
	anns := hub.Connect(transport.Identity{ID: "user:ann"})
	ann, also := anns.Join("chat_room:1", hello{"ann"}), anns.Join("chat_room:2", hello{"ann"})
	also.WantPush("welcome", hello{"ann"})
	bob := hub.Connect(transport.Identity{ID: "user:bob"}).Join("chat_room:1", hello{"bob"})
	ann.Push("message_new", post{"spam"}).WantReply(nil)
	bob.WantBroadcast("message_new", post{"spam"})
	if err := (moderator{hub}).ban(t.Context(), "user:ann", "chat_room:1"); err != nil {
		t.Fatal(err)
	}
	anns.WantClosed("disconnected")
	redacted := map[string]int{"offset": 1}
	bob.WantBroadcast("message_redacted", redacted)
	bob.WantBroadcast("banned", hello{"user:ann"})
	if err := hub.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]int{"chat_room:1": 1, "chat_room:2": 0} {
		if got, err := hub.Members(t.Context(), topic); len(got) != want || err != nil {
			t.Errorf("%s: got the members %v, want %d", topic, got, want)
		}
	}
	cid := hub.Join("chat_room:1", hello{"cid"})
	cid.WantBroadcast("message_redacted", redacted)
	cid.WantBroadcast("banned", hello{"user:ann"})
	cid.WantPush("welcome", hello{"cid"})
	cid.WantNothing()
	if err := hub.Disconnect(t.Context(), ""); err == nil {
		t.Error("Disconnect of nobody: got no error")
	}
}

func TestAPartOfAPayloadIsWanted(t *testing.T) {
	ann := channeltest.New(t, "chat_room:{id}", ChatRoom{}).Join("chat_room:1", hello{"ann"})
	sent := map[string]any{"at": 7, "by": map[string]any{"id": "x", "name": "ann"}, "tags": []any{"a", "b"}}
	for _, want := range []any{
		map[string]any{},
		map[string]any{"by": map[string]any{"name": "ann"}},
		map[string]any{"tags": []any{"a", "b"}, "at": 7},
	} {
		ann.Push("echo", sent).WantReply(channeltest.Part(want))
	}
	for name, want := range map[string]any{
		"another value": map[string]any{"by": map[string]any{"name": "bob"}},
		"null":          map[string]any{"no": nil},
		"half an array": map[string]any{"tags": []any{"a"}},
		"no object":     7,
	} {
		said := failureOf(t, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.Push("echo", sent).WantReply(channeltest.Part(want))
		})
		if !strings.Contains(said, "want at least") {
			t.Errorf("%s: got the failure %q, want one", name, said)
		}
	}
}

func TestFailuresSayWhatCameInstead(t *testing.T) {
	for _, test := range []struct {
		name, want string
		do         func(ann *channeltest.Member, hub *channeltest.Hub)
	}{
		{"another payload", `got {"text":"hi"}, want {"text":"ho"}`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.Push("echo", post{"hi"}).WantReply(post{"ho"})
		}},
		{"a part that is not there", `got {"text":"hi"}, want at least {"by":"ann"}`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.Push("echo", post{"hi"}).WantReply(channeltest.Part(map[string]any{"by": "ann"}))
		}},
		{"a part that is sent", `a Part is wanted, and can't be sent`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.Push("echo", channeltest.Part(post{"hi"}))
		}},
		{"an error for a reply", `got {"status":"error","response":{"reason":"internal"}}, want status "ok"`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.Push("nonsense", nil).WantReply(nil)
		}},
		{"nothing", `client-1: got nothing, and no handler has run for 2s, want broadcast message_new`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.WantPush("welcome", hello{"ann"})
			ann.WantBroadcast("message_new", nil)
		}},
		{"another event", `got chat_room:1 push welcome {"name":"ann"}, and no handler has run for 2s, want push news`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.WantPush("news", nil)
		}},
		{"a push for a broadcast", `got chat_room:1 push welcome {"name":"ann"}, and no handler has run for 2s, want broadcast welcome`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.WantBroadcast("welcome", hello{"ann"})
		}},
		{"a broadcast for a push", `chat_room:1 broadcast message_new {"text":"hi"}, and no handler has run for 2s, want push message_new`, func(ann *channeltest.Member, hub *channeltest.Hub) {
			_ = hub.Broadcast(context.Background(), "chat_room:1", "message_new", post{"hi"})
			ann.WantPush("message_new", post{"hi"})
		}},
		{"the end for a reply", `chat_room:1 phx_error {"reason":"channel_crash"}, and the join has ended, want the reply to chat_room:1 boom of client-1`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.Push("boom", nil).WantReply(nil)
		}},
		{"the end, which was wanted, for a reply", `client-1: got nothing, and the join has ended, want the reply to chat_room:1 boom of client-1`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.WantPush("welcome", hello{"ann"})
			crash := ann.Push("boom", nil)
			ann.WantError("channel_crash")
			crash.WantReply(nil)
		}},
		{"something", `client-1: got chat_room:1 push welcome {"name":"ann"}, want nothing`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.WantNothing()
		}},
		{"a refused join", `got {"status":"error","response":{"reason":"a name is needed"}}, want status "ok"`, func(_ *channeltest.Member, hub *channeltest.Hub) {
			hub.Join("chat_room:1", nil)
		}},
		{"a push of a handler that stays", `got nothing, and a handler runs after 15s, want push late`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.WantPush("welcome", hello{"ann"})
			ann.Push("wait", nil)
			ann.WantPush("late", nil)
		}},
		{"a handler that stays", `a handler still runs after 15s`, func(ann *channeltest.Member, _ *channeltest.Hub) {
			ann.Push("wait", nil)
			ann.WantNothing()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if said := failureOf(t, test.do); !strings.Contains(said, test.want) {
					t.Errorf("got the failure %q, want %q in it", said, test.want)
				}
			})
		})
	}
}

// failureOf returns what a test fails with.
func failureOf(t *testing.T, do func(ann *channeltest.Member, hub *channeltest.Hub)) string {
	failed := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		hub := channeltest.New(failed, "chat_room:{id}", ChatRoom{})
		do(hub.Join("chat_room:1", hello{"ann"}), hub)
	}()
	<-done
	return failed.said
}

// failing keeps what a test fails with from failing its own.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
