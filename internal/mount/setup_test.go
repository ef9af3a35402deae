package mount_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

// quietRoom does nothing, correctly.
type quietRoom struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (quietRoom) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

// misspeltJoin compiles, since it embeds a join, and would let everybody in.
type misspeltJoin struct{ quietRoom }

func (misspeltJoin) HandleJoind(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
	return channel.Accepted{}, channel.Refuse("nobody may")
}

type misspeltLeave struct{ quietRoom }

func (*misspeltLeave) HandleLeft(context.Context, *channel.Socket, channel.Reason) {}

type misspeltMessage struct{ quietRoom }

func (misspeltMessage) OnMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

// helpful has other methods, which look like no handler.
type helpful struct{ quietRoom }

func (helpful) Name() string                                { return "helpful" }
func (helpful) Load(context.Context, *channel.Socket) error { return nil }
func (helpful) unexported(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

// TestMistakesAtSetUpPanicWithASentence that begins with chime: and says what
// is wrong, where.
func TestMistakesAtSetUpPanicWithASentence(t *testing.T) {
	anyone := chime.WithAnonymous()
	with := func(options ...chime.Option) func() {
		return func() { chime.NewRouter(append([]chime.Option{anyone}, options...)...) }
	}
	kept := store.NewMemory()
	defer func() { _ = kept.Close() }()
	pattern := func(patterns ...string) func() {
		return func() {
			live := chime.NewRouter(anyone)
			for _, p := range patterns {
				live.Channel(p, quietRoom{})
			}
		}
	}
	history := func(h channel.History) func() {
		return func() { chime.NewRouter(anyone, chime.WithStore(kept)).Channel("room:*", quietRoom{}, h) }
	}
	ch := func(c channel.Channel) func() {
		return func() { chime.NewRouter(anyone).Channel("room:*", c) }
	}
	for name, c := range map[string]struct {
		mistake func()
		says    string
	}{
		"a negative grace period":     {with(chime.WithGrace(-1)), "chime: WithGrace: -1ns: want at most 2m0s, or NoGrace for none"},
		"a grace period too long":     {with(chime.WithGrace(3 * time.Minute)), "chime: WithGrace: 3m0s: want at most 2m0s, or NoGrace for none"},
		"nobody said who may connect": {func() { chime.NewRouter() }, "chime: NewRouter: nothing says who may connect: want WithConnect, or WithAnonymous for everybody"},
		"connect is nil":              {func() { chime.NewRouter(chime.WithConnect(nil)) }, "chime: NewRouter: WithConnect: nil: want a function"},
		"connect and anonymous":       {func() { chime.NewRouter(chime.WithConnect(raw.ByToken), anyone) }, "chime: NewRouter: WithConnect and WithAnonymous: want one of them"},
		"anonymous and connect":       {func() { chime.NewRouter(anyone, chime.WithConnect(raw.ByToken)) }, "chime: NewRouter: WithConnect and WithAnonymous: want one of them"},
		"no logger":                   {with(chime.WithLogger(nil)), "chime: NewRouter: WithLogger: nil: want a logger"},
		"negative limits":             {with(chime.WithLimits(chime.Limits{Topics: -1})), "chime: NewRouter: WithLimits: limit Topics: -1: want 1 or more, or 0 for the default"},
		"a negative queue":            {with(chime.WithLimits(chime.Limits{QueueBytes: -1})), "chime: NewRouter: WithLimits: limit QueueBytes: -1: want"},
		"no room for a frame":         {with(chime.WithLimits(chime.Limits{BatchBytes: 10})), "chime: NewRouter: WithLimits: limit BatchBytes: 10: want at least 65664"},
		"no option":                   {with(nil), "chime: NewRouter: option 2: nil: want an Option"},

		"an origin with a path":     {with(chime.WithOrigins("https://app.example.com/chat")), `chime: NewRouter: WithOrigins: origin "https://app.example.com/chat"`},
		"an origin with a slash":    {with(chime.WithOrigins("https://app.example.com/")), `chime: NewRouter: WithOrigins: origin "https://app.example.com/"`},
		"an origin with a star":     {with(chime.WithOrigins("*")), `chime: NewRouter: WithOrigins: origin "*"`},
		"an origin with a wildcard": {with(chime.WithOrigins("https://*.example.com")), `chime: NewRouter: WithOrigins: origin "https://*.example.com"`},
		"an origin with a user":     {with(chime.WithOrigins("https://me@example.com")), `chime: NewRouter: WithOrigins: origin "https://me@example.com"`},
		"an origin with a query":    {with(chime.WithOrigins("https://example.com?x")), `chime: NewRouter: WithOrigins: origin "https://example.com?x"`},
		"an origin that is nothing": {with(chime.WithOrigins("")), `chime: NewRouter: WithOrigins: origin ""`},
		"an origin that is null":    {with(chime.WithOrigins("https://ok.example", "https://")), `chime: NewRouter: WithOrigins: origin "https://"`},
		"an origin with a bad port": {with(chime.WithOrigins("https://example.com:port")), `chime: NewRouter: WithOrigins: origin "https://example.com:port"`},

		"no pattern":              {pattern(""), `chime: Channel(""): want 1 to 255 bytes of UTF-8 without control characters`},
		"a pattern that is long":  {pattern(strings.Repeat("x", 256)), `chime: Channel("xxx`},
		"an LF in a pattern":      {pattern("a\nb"), `chime: Channel("a\nb"): want 1 to 255 bytes`},
		"unclosed":                {pattern("room:{id"), `chime: Channel("room:{id"): unclosed {`},
		"no name":                 {pattern("room:{}"), `chime: Channel("room:{}"): {}: want a name between the braces`},
		"a star in a name":        {pattern("room:{*}"), `chime: Channel("room:{*}"): {*}: want a name between the braces`},
		"a name twice":            {pattern("{id}:{id}"), `chime: Channel("{id}:{id}"): {id} twice: want each name once`},
		"a star in the middle":    {pattern("*:room"), `chime: Channel("*:room"): want {name} as a whole segment, and * at the end only`},
		"a brace in the middle":   {pattern("room{id}"), `chime: Channel("room{id}"): want {name} as a whole segment`},
		"chime's own topic":       {pattern("chime"), `chime: Channel("chime"): want another topic than chime and phoenix`},
		"Phoenix's own topic":     {pattern("phoenix"), `chime: Channel("phoenix"): want another topic than chime and phoenix`},
		"equal patterns":          {pattern("room:*", "room:*"), `chime: Channel("room:*"): it matches the same topics as "room:*"`},
		"equal but for the names": {pattern("room:{id}", "x", "room:{name}"), `chime: Channel("room:{name}"): it matches the same topics as "room:{id}"`},

		"no channel":           {ch(nil), `chime: Channel("room:*"): the channel is nil`},
		"HandleJoind":          {ch(misspeltJoin{}), `chime: Channel("room:*"): mount_test.misspeltJoin.HandleJoind has the signature of HandleJoined: want that name, or an unexported one`},
		"HandleLeft":           {ch(&misspeltLeave{}), `chime: Channel("room:*"): *mount_test.misspeltLeave.HandleLeft has the signature of HandleLeave`},
		"HandleLeft, by value": {ch(misspeltLeave{}), `chime: Channel("room:*"): mount_test.misspeltLeave.HandleLeft has the signature of HandleLeave`},
		"OnMessage":            {ch(misspeltMessage{}), `chime: Channel("room:*"): mount_test.misspeltMessage.OnMessage has the signature of HandleMessage`},

		"history without a store": {func() { chime.NewRouter(anyone).Channel("room:*", quietRoom{}, channel.History{Keep: 1}) }, `chime: Channel("room:*"): History is given, and there is no store: want WithStore or WithBroker`},
		"history of nothing":      {history(channel.History{}), `chime: Channel("room:*"): History.Keep: 0: want at least 1`},
		"history of less":         {history(channel.History{Keep: -1}), `chime: Channel("room:*"): History.Keep: -1: want at least 1`},
		"a negative replay":       {history(channel.History{Keep: 10, Replay: -1}), `chime: Channel("room:*"): History.Replay: -1: want 0 to 10`},
		"more replay than kept":   {history(channel.History{Keep: 10, Replay: 11}), `chime: Channel("room:*"): History.Replay: 11: want 0 to 10`},
		"too much replay":         {history(channel.History{Keep: 1000, Replay: 501}), `chime: Channel("room:*"): History.Replay: 501: want 0 to 500`},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				v := recover()
				if got, ok := v.(string); !ok || !strings.HasPrefix(got, c.says) {
					t.Errorf("got a panic of %v, want %q", v, c.says)
				}
			}()
			c.mistake()
		})
	}
}

// TestTheLastWithConnectCounts holds what a test relies on that gives its own to
// a function with options.
func TestTheLastWithConnectCounts(t *testing.T) {
	refuse := func(status int) chime.Option {
		return chime.WithConnect(func(*http.Request) (chime.Identity, error) {
			return chime.Identity{}, chime.RefuseConnect(status, "no")
		})
	}
	w := httptest.NewRecorder()
	chime.NewRouter(refuse(http.StatusUnauthorized), refuse(http.StatusForbidden)).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/sse?join=room:1", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("got %d, want the 403 of the second", w.Code)
	}
}

func TestWhatIsNoMistakeDoesNotPanic(t *testing.T) {
	kept := store.NewMemory()
	defer func() { _ = kept.Close() }()
	live := chime.NewRouter(
		chime.WithAnonymous(), chime.WithStore(kept), chime.WithLimits(chime.Limits{}),
		chime.WithOrigins("https://app.example.com", "app.example.com:8080", "http://[::1]:4000", "localhost"), chime.WithOrigins(),
	)
	for _, p := range []string{"*", "room:*", "room:lobby", "room:{id}", "room:{id}:*", "room:{id}:{part}", "ro*", "chime:x", "phoenix:*", "ünïcode:{x}"} {
		live.Channel(p, helpful{}, channel.History{Keep: 10, Age: time.Hour, Replay: 10})
	}
	live.Channel("forever", &helpful{}, channel.History{Keep: 1, Age: channel.Forever})
	_, _ = helpful{}.unexported(t.Context(), nil, channel.Message{})
}

func TestAnswersToTheApplicationSayWhatIsWrong(t *testing.T) {
	_, live := raw.NewRouter(t)
	ctx := t.Context()
	ended, cancel := context.WithCancelCause(ctx)
	why := errors.New("the request has ended")
	cancel(why)
	for name, c := range map[string]struct{ got, want error }{
		"Broadcast to nobody's topic":  {live.Broadcast(ctx, "nowhere", "say", nil), channel.ErrNoChannel},
		"Broadcast after the end":      {live.Broadcast(ended, "hall:1", "say", nil), why},
		"Forget nobody's topic":        {live.Forget(ctx, "nowhere"), channel.ErrNoChannel},
		"Forget what is not kept":      {live.Forget(ctx, "hall:1"), channel.ErrNoHistory},
		"Redact what is not kept":      {live.Redact(ctx, "hall:1", 1), channel.ErrNoHistory},
		"Redact what is not there":     {live.Redact(ctx, "book:1", 1), store.ErrNotFound},
		"Disconnect after the end":     {live.Disconnect(ended, "alice"), why},
		"Disconnect who is not there":  {live.Disconnect(ctx, "alice"), nil},
		"History of what is not kept":  {historyOf(live, "hall:1", 1), channel.ErrNoHistory},
		"History of nobody's topic":    {historyOf(live, "nowhere", 1), channel.ErrNoChannel},
		"History of an unused topic":   {historyOf(live, "book:1", 1), nil},
		"Shutdown of an unused router": {live.Shutdown(ctx), nil},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.got, c.want)
		}
	}
	for name, err := range map[string]error{
		"Disconnect the anonymous": live.Disconnect(ctx, ""),
		"History of no messages":   historyOf(live, "book:1", 0),
		"History of fewer":         historyOf(live, "book:1", -1),
	} {
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if got, err := live.Members(t.Context(), "nowhere"); got != nil || err != nil {
		t.Errorf("Members: got %v, %v, want none", got, err)
	}
}

func historyOf(live *chime.Router, topic string, n int) error {
	_, _, err := live.History(context.Background(), topic, n)
	return err
}
