package channel

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/store"
)

type (
	nobody struct{ NothingOnLeave }
	open   struct {
		AnyoneMayJoin
		nobody
	}
	joind   struct{ open }
	mesage  struct{ open }
	leaves  struct{ open }
	helpful struct{ open }
	pointer struct{ open }
	greets  struct{ open }
	failing struct{ open }
	nearly  struct{ open }
)

func (nobody) HandleMessage(context.Context, *Socket, Message) (any, error) { return nil, nil }

func (joind) HandleJoind(context.Context, *Socket, Message) (Accepted, error) { return Accepted{}, nil }
func (mesage) OnMessage(context.Context, *Socket, Message) (any, error)       { return nil, nil }
func (leaves) HandleLeft(context.Context, *Socket, Reason)                    {}
func (helpful) Close() error                                                  { return nil }

//nolint:unused // that it is of no account is the test
func (helpful) handleJoind(context.Context, *Socket, Message) (Accepted, error) {
	return Accepted{}, nil
}

func (greets) HandleMember(context.Context, *Socket)        {}
func (failing) HandleMember(context.Context, *Socket) error { return nil }
func (nearly) HandleMembers(*Socket)                        {}

func (*pointer) HandleJoind(context.Context, *Socket, Message) (Accepted, error) {
	return Accepted{}, nil
}

func TestMistakesAtSetUpPanic(t *testing.T) {
	for _, test := range []struct {
		name    string
		pattern string
		ch      Channel
		option  Option
		want    string // "": none
	}{
		{"fine", "a", open{}, nil, ""},
		{"other methods", "a", helpful{}, nil, ""},
		{"nil", "a", nil, nil, "the channel is nil"},
		{"HandleJoind", "a", joind{}, nil, "channel.joind.HandleJoind has the signature of HandleJoined: want that name, or an unexported one"},
		{"HandleJoind of a pointer", "a", &pointer{}, nil, "*channel.pointer.HandleJoind"},
		{"HandleJoind of a value, given a pointer", "a", &joind{}, nil, "*channel.joind.HandleJoind"},
		{"HandleJoind of a pointer, given a value", "a", pointer{}, nil, "channel.pointer.HandleJoind"},
		{"OnMessage", "a", mesage{}, nil, "OnMessage has the signature of HandleMessage"},
		{"HandleLeft", "a", leaves{}, nil, "HandleLeft has the signature of HandleLeave"},
		{"HandleMember", "a", greets{}, nil, ""},
		{"HandleMember with an error", "a", failing{}, nil,
			"failing.HandleMember is func(context.Context, *channel.Socket) error: want func(context.Context, *channel.Socket)"},
		{"HandleMembers", "a", nearly{}, nil, "nearly.HandleMembers has nearly the name of HandleMember: want that name, or an unexported one"},
		{"pattern", "a:{id", open{}, nil, "unclosed {"},
		{"twice", "taken:{id}", open{}, nil, `matches the same topics as "taken:{name}"`},
		{"no Keep", "a", open{}, History{}, "History.Keep: 0: want at least 1"},
		{"negative Replay", "a", open{}, History{Keep: 1, Replay: -1}, "History.Replay: -1: want 0 to 1"},
		{"Replay over Keep", "a", open{}, History{Keep: 5, Replay: 6}, "History.Replay: 6: want 0 to 5"},
		{"Replay over the most", "a", open{}, History{Keep: 5000, Replay: 501}, "History.Replay: 501: want 0 to 500"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := NewHub(Config{Broker: local.New(store.NewMemory()), Log: slog.New(slog.DiscardHandler)})
			h.Channel("taken:{name}", open{})
			defer func() {
				got := fmt.Sprint(recover())
				begins := fmt.Sprintf("chime: Channel(%q): ", test.pattern)
				if test.want == "" && got != "<nil>" {
					t.Errorf("got the panic %s, want none", got)
				}
				if test.want != "" && (!strings.HasPrefix(got, begins) || !strings.Contains(got, test.want)) {
					t.Errorf("got the panic %s, want %s… %s", got, begins, test.want)
				}
			}()
			if test.option == nil {
				h.Channel(test.pattern, test.ch)
			} else {
				h.Channel(test.pattern, test.ch, test.option)
			}
		})
	}
	t.Run("History without a store", func(t *testing.T) {
		defer func() {
			if got := fmt.Sprint(recover()); !strings.Contains(got, "History is given, and there is no store") {
				t.Errorf("got the panic %s", got)
			}
		}()
		NewHub(Config{}).Channel("a", open{}, History{Keep: 1})
	})
}

func TestHistoryDefaults(t *testing.T) {
	for _, test := range []struct {
		given History
		want  store.Retention
	}{
		{History{Keep: 7}, store.Retention{Keep: 7, Age: 24 * time.Hour}},
		{History{Keep: 7, Age: time.Minute}, store.Retention{Keep: 7, Age: time.Minute}},
		{History{Keep: 7, Age: Forever}, store.Retention{Keep: 7}},
	} {
		var r route
		if err := test.given.apply(&r); err != nil || *r.keep != test.want {
			t.Errorf("%+v: got %+v, %v, want %+v", test.given, r.keep, err, test.want)
		}
	}
}

func TestParam(t *testing.T) {
	r, err := newRoute("room:{id}:*", open{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	values := r.pattern.params("room:1:x:y")
	for name, want := range map[string]string{"id": "1", "{id}": "1", "*": "x:y", "none": "", "": ""} {
		if got := r.param(values, name); got != want {
			t.Errorf("Param(%q): got %q, want %q", name, got, want)
		}
	}
}
