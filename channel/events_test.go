package channel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
)

type post struct {
	Text  string  `json:"text"`
	Title *string `json:"title"`
	Tag   string  `json:"tag,omitempty"`
	Stars int     `json:"stars,omitzero"`
}

func (p post) Validate() error {
	switch p.Text {
	case "":
		return channel.Refuse("text: want at least a letter")
	case "?":
		return errors.New("a mistake of the application's")
	}
	return nil
}

type typed struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
	channel.Events
}

func newTyped() *typed {
	return &typed{Events: channel.Events{
		channel.On("post", func(_ context.Context, _ *channel.Socket, p post) (any, error) { return p.Text, nil }),
		channel.On("numbers", func(_ context.Context, _ *channel.Socket, n []int) (any, error) { return len(n), nil }),
		channel.On("bytes", func(_ context.Context, _ *channel.Socket, b channel.Binary) (any, error) { return len(b), nil }),
		channel.On("any", func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) { return m.Event, nil }),
		channel.On("fails", func(context.Context, *channel.Socket, struct{}) (any, error) { return nil, channel.Refuse("not today") }),
	}}
}

func TestTypedEventsNameWhatIsWrong(t *testing.T) {
	hub := channeltest.New(t, "a", newTyped())
	ann := hub.Join("a", nil)
	type m = map[string]any
	for _, test := range []struct {
		event   string
		payload any
		reply   any // nil: an error
		reason  string
	}{
		{"post", m{"text": "hi"}, "hi", ""},
		{"post", m{"TEXT": "hi", "unknown": 1}, "hi", ""},
		{"post", m{"text": "hi", "title": nil, "tag": "x", "stars": 3}, "hi", ""},
		{"post", m{"txt": "hi"}, nil, "malformed payload: text: missing"},
		{"post", m{}, nil, "malformed payload: text: missing"},
		{"post", m{"text": 7}, nil, "malformed payload: text: got number"},
		{"post", m{"text": "hi", "stars": "many"}, nil, "malformed payload: stars: got string"},
		{"post", []int{1}, nil, "malformed payload"},
		{"post", "hi", nil, "malformed payload"},
		{"post", channel.Binary("hi"), nil, "payload is binary, want JSON"},
		{"post", m{"text": ""}, nil, "text: want at least a letter"},
		{"post", m{"text": "?"}, nil, "internal"},
		{"numbers", []int{1, 2}, 2, ""},
		{"numbers", m{"a": 1}, nil, "malformed payload"},
		{"bytes", channel.Binary("abc"), 3, ""},
		{"bytes", m{}, nil, "payload is JSON, want binary"},
		{"any", m{"what": "ever"}, "any", ""},
		{"fails", m{}, nil, "not today"},
		{"none", m{}, nil, "unknown event"},
	} {
		pushed := ann.Push(test.event, test.payload)
		if test.reply != nil {
			pushed.WantReply(test.reply)
		} else {
			pushed.WantError(test.reason)
		}
	}
}

func TestMistakesInEventsPanic(t *testing.T) {
	handle := func(context.Context, *channel.Socket, post) (any, error) { return nil, nil }
	for want, events := range map[string]channel.Events{
		"Events is empty":                        nil,
		`event "a": it has two handlers`:         {channel.On("a", handle), channel.On("a", handle)},
		`event "phx_join": want`:                 {channel.On("phx_join", handle)},
		"Events has one without a handler":       {{}},
		"Events has one without a handler: want": {channel.On[post]("a", nil)},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("got the panic %s, want %s", got, want)
				}
			}()
			channel.NewHub(channel.Config{}).Channel("a", &typed{Events: events})
		}()
	}
}

func ExampleOn() {
	room := &typed{Events: channel.Events{
		channel.On("add", func(_ context.Context, _ *channel.Socket, in struct {
			A int `json:"a"`
			B int `json:"b,omitempty"`
		}) (any, error) {
			return object{"sum": in.A + in.B}, nil
		}),
	}}
	site := open("sum", room)
	defer site.close()
	ann := site.join("ann", "sum", `{}`)
	ann.push("add", `{"a":2,"b":3}`)
	ann.push("add", `{"b":3}`)
	ann.hears(3)
	// Output:
	// ann: phx_reply {"status":"ok","response":{}}
	// ann: phx_reply {"status":"ok","response":{"sum":5}}
	// ann: phx_reply {"status":"error","response":{"reason":"malformed payload: a: missing"}}
}

// greeter says who has come, once each can hear it of the other.
type greeter struct {
	channel.AnyoneMayJoin
	channel.ListenOnly
	channel.NothingOnLeave
}

func (greeter) HandleMember(ctx context.Context, s *channel.Socket) {
	if err := s.Broadcast(ctx, "user_joined", object{"who": s.Identity().ID}); err != nil {
		slog.Warn("not announced", "error", err)
	}
}

func ExampleMemberHandler() {
	site := open("room:{id}", greeter{})
	defer site.close()
	ann := site.join("ann", "room:1", `{}`)
	ann.hears(2)
	ann.push("say", `{"text":"hello"}`)
	ann.hears(1)
	// Output:
	// ann: phx_reply {"status":"ok","response":{}}
	// ann: user_joined {"who":"ann"}
	// ann: phx_reply {"status":"error","response":{"reason":"listen only"}}
}

// tag is a middleware that notes what passes through it, with a HandleMember of its own
// if it is said so.
type tag struct {
	channel.Channel
	name string
	seen *[]string
}

func (g tag) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	*g.seen = append(*g.seen, g.name+" message")
	return g.Channel.HandleMessage(ctx, s, m)
}

type member struct{ tag }

func (g member) HandleMember(ctx context.Context, s *channel.Socket) {
	*g.seen = append(*g.seen, g.name+" member")
	if next, ok := g.Channel.(channel.MemberHandler); ok {
		next.HandleMember(ctx, s)
	}
}

func TestMiddlewaresStandAroundAChannel(t *testing.T) {
	var seen []string
	tagged := func(name string) channel.Middleware {
		return func(next channel.Channel) channel.Channel { return tag{next, name, &seen} }
	}
	withMember := func(name string) channel.Middleware {
		return func(next channel.Channel) channel.Channel { return member{tag{next, name, &seen}} }
	}
	hub := channeltest.New(t, "a", greeter{}, channel.Use(tagged("1"), withMember("2")), channel.Use(tagged("3"), withMember("4"), tagged("5")))
	ann := hub.Join("a", nil)
	ann.WantBroadcast("user_joined", object{"who": ""}) // of the channel itself, in the end
	ann.Push("say", object{}).WantError("listen only")
	if got, want := strings.Join(seen, ", "), "2 member, 4 member, 1 message, 2 message, 3 message, 4 message, 5 message"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestMistakesInMiddlewaresPanic(t *testing.T) {
	for want, m := range map[string]channel.Middleware{
		"Use: a middleware is nil":                              nil,
		"Use: a middleware returned nil":                        func(channel.Channel) channel.Channel { return nil },
		"misnamed.OnMessage has the signature of HandleMessage": func(next channel.Channel) channel.Channel { return misnamed{next} },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("got the panic %s, want %s", got, want)
				}
			}()
			channel.NewHub(channel.Config{}).Channel("a", greeter{}, channel.Use(m))
		}()
	}
}

type misnamed struct{ channel.Channel }

func (misnamed) OnMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}
