package nats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := serve(t)
	guarded, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Name: "guarded", Listen: "127.0.0.1:0", Secret: "right", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer guarded.Close()
	plain, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	plain.Start()
	defer plain.WaitForShutdown()
	defer plain.Shutdown()
	nobody := need.Free(t)
	with := func(url, user string) string { return strings.Replace(url, "nats://", "nats://"+user+"@", 1) }
	for _, c := range []struct {
		name string
		o    nats.Options
		want []string
		is   error
	}{
		{"no server", nats.Options{}, []string{"no server", "nats://localhost:4222"}, nil},
		{"prefix", nats.Options{Server: s, Prefix: "a.b"}, []string{`"a.b"`, "letters, digits, _ or -"}, nil},
		{"streams", nats.Options{Server: s, Streams: 100}, []string{"100 streams", "1 to 64"}, nil},
		{"replicas", nats.Options{Server: s, Replicas: 2}, []string{"2 replicas", "1, 3 or 5"}, nil},
		{"replicas on one server", nats.Options{Server: s, Replicas: 3, Prefix: prefix(), GiveUp: 300 * time.Millisecond}, []string{"replicas"}, nil},
		{"bound", nats.Options{Server: s, MaxBytes: -1}, []string{"below 0"}, nil},
		{"key window", nats.Options{Server: s, KeyWindow: time.Millisecond}, []string{"key window 1ms", "100ms"}, nil},
		{"age", nats.Options{Server: s, MaxAge: time.Second}, []string{"max age 1s", "key window, 2m0s"}, nil},
		{"nobody listens", nats.Options{URL: "nats://user:hidden@" + nobody, GiveUp: 200 * time.Millisecond}, []string{"nats://" + nobody, "given up after 200ms"}, broker.ErrUnavailable},
		{"no URL", nats.Options{URL: "nats://localhost:4222,::hidden"}, []string{"can't be read", "nats://user:password@host:4222"}, nil},
		{"wrong password", nats.Options{URL: with(guarded.URL(), "chime:hidden"), GiveUp: time.Minute}, []string{guarded.URL(), "Authorization Violation"}, nil},
		{"no password", nats.Options{URL: guarded.URL(), GiveUp: time.Minute}, []string{"Authorization Violation"}, nil},
		{"no JetStream", nats.Options{URL: plain.ClientURL(), GiveUp: time.Minute}, []string{plain.ClientURL(), "no JetStream", "jetstream enabled"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Log = quiet
			b, err := nats.Open(t.Context(), c.o)
			if err == nil {
				_ = b.Close()
				t.Fatal("got a broker, want an error")
			}
			for _, want := range append(c.want, "open a broker over NATS: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("got %q, with a password in it", err)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %q, want it to be %q", err, c.is)
			}
		})
	}
	open(t, nats.Options{URL: with(guarded.URL(), "chime:right"), Prefix: prefix()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := nats.Open(ctx, nats.Options{URL: "nats://" + nobody, Log: quiet}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is done: got %v", err)
	}
}

// A server that begins later is waited for.
func TestOpenWaitsForTheServer(t *testing.T) {
	t.Parallel()
	at := need.Free(t)
	opened := make(chan error, 1)
	go func() {
		b, err := nats.Open(t.Context(), nats.Options{URL: "nats://" + at, Prefix: prefix(), GiveUp: 30 * time.Second, Log: quiet})
		if err == nil {
			err = b.Close()
		}
		opened <- err
	}()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Name: "late", Listen: at, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// A stream that exists has the settings that are asked for, or Open names the one that is
// not.
func TestAStreamHasOtherSettings(t *testing.T) {
	t.Parallel()
	s := serve(t)
	js := administer(t, s)
	for _, c := range []struct {
		name  string
		first nats.Options
		then  nats.Options
		want  string
		adopt bool
	}{
		{"the same", nats.Options{}, nats.Options{}, "", false},
		{"key window", nats.Options{}, nats.Options{KeyWindow: time.Minute}, "key window: it has 2m0s, want 1m0s", true},
		{"age", nats.Options{MaxAge: time.Hour}, nats.Options{}, "max age: it has 1h0m0s, want 0s", true},
		{"bytes", nats.Options{}, nats.Options{MaxBytes: 1 << 20}, "max bytes: it has -1, want 1048576", true},
		{"messages", nats.Options{MaxPerTopic: 10}, nats.Options{MaxPerTopic: 20}, "max messages per topic: it has 10, want 20", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := prefix()
			for _, o := range []*nats.Options{&c.first, &c.then} {
				o.Server, o.Prefix, o.Log = s, p, quiet
			}
			open(t, c.first)
			b, err := nats.Open(t.Context(), c.then)
			if err == nil {
				_ = b.Close()
			}
			if got := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(got, p+"-0") || !strings.Contains(got, c.want) || !strings.Contains(got, "Adopt")) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.adopt {
				c.then.Adopt = true
				open(t, c.then)
			}
		})
	}
	for name, change := range map[string]func(o *nats.Options) error{
		"storage": func(o *nats.Options) error {
			c := streamConfig(o.Prefix)
			c.Storage = 1
			_, err := js.CreateStream(t.Context(), c)
			return err
		},
		"subjects": func(o *nats.Options) error {
			c := streamConfig(o.Prefix)
			c.Subjects = []string{o.Prefix + ".other"}
			_, err := js.CreateStream(t.Context(), c)
			return err
		},
		"number of streams: it has 3, want 1": func(o *nats.Options) error {
			c := streamConfig(o.Prefix)
			c.Metadata["chime-streams"] = "3"
			_, err := js.CreateStream(t.Context(), c)
			return err
		},
		"format of messages: it has 2, want 1": func(o *nats.Options) error {
			c := streamConfig(o.Prefix)
			c.Metadata = map[string]string{"chime-format": "2"}
			_, err := js.CreateStream(t.Context(), c)
			return err
		},
	} {
		o := nats.Options{Server: s, Prefix: prefix(), Adopt: true, Log: quiet}
		if err := change(&o); err != nil {
			t.Fatal(err)
		}
		if b, err := nats.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("another %s: got %v", name, err)
			if err == nil {
				_ = b.Close()
			}
		}
	}
}

// Two applications that use one server have nothing to do with each other: neither messages, nor
// nodes, nor who is present.
func TestTwoPrefixesAreApart(t *testing.T) {
	t.Parallel()
	s := serve(t)
	one, two := open(t, nats.Options{Server: s, Prefix: prefix()}), open(t, nats.Options{Server: s, Prefix: prefix()})
	var present atomic.Int64
	l := listen(t, one)
	listen(t, two)
	for _, b := range []*nats.Broker{one, two} {
		b.StartCluster(broker.Node{ID: "the same", Name: "name"}, func(context.Context, []byte) ([]byte, error) { return nil, nil })
		b.StartPresence(func(string, broker.Change) { present.Add(1) })
		if err := b.Subscribe(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	two.Present("a", broker.Change{Joins: []broker.Present{{Key: "k", Ref: "r", Meta: []byte("{}")}}})
	for _, keep := range []*store.Retention{{}, nil} {
		if _, err := two.Publish(t.Context(), said("a", "theirs"), keep); err != nil {
			t.Fatal(err)
		}
	}
	ours := say(t, one, "a", "ours")
	l.wait(t, "our message", func() bool { return len(l.messages) > 0 })
	if len(l.messages) != 1 || l.messages[0].Offset != ours.Offset || len(history(t, one, "a").Messages) != 1 {
		t.Errorf("got %+v, want ours alone", l.messages)
	}
	if nodes, err := one.Nodes(t.Context()); err != nil || len(nodes) != 1 {
		t.Errorf("got the nodes %v, %v, want one", nodes, err)
	}
	if answers, err := one.Ask(t.Context(), nil); err != nil || len(answers) != 0 {
		t.Errorf("got the answers %v, %v, want none", answers, err)
	}
	if list, err := one.ListPresence(t.Context(), "a"); err != nil || len(list) != 0 || present.Load() != 1 {
		t.Errorf("got %v present, %v, and %d changes, want none, and the one there", list, err, present.Load())
	}
}

// Nodes may have one name, and one that comes back with that of another is another node.
func TestNodesOfOneName(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	begin := func(id string) *nats.Broker {
		b := open(t, nats.Options{Server: s, Prefix: p})
		listen(t, b)
		b.StartCluster(broker.Node{ID: id, Name: "web"}, func(context.Context, []byte) ([]byte, error) { return []byte(id), nil })
		return b
	}
	one, two := begin("one"), begin("two")
	want := func(others string) {
		t.Helper()
		until(t, "it is answered by "+others, func() bool {
			answers, err := one.Ask(t.Context(), nil)
			var got []string
			for _, a := range answers {
				got = append(got, string(a.Body))
			}
			slices.Sort(got)
			return err == nil && strings.Join(got, " ") == others
		})
	}
	want("two")
	begin("three")
	want("three two")
	if err := two.Close(); err != nil {
		t.Error(err)
	}
	want("three")
	begin("four")
	want("four three")
}

// No secret is in a log, and a connection that is lost and restored is.
func TestTheLogHasNoSecret(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Name: "guarded", Listen: "127.0.0.1:0", Secret: "hidden", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	link := proxy(t, strings.TrimPrefix(s.URL(), "nats://"))
	var text bytes.Buffer
	b := open(t, nats.Options{URL: "nats://chime:hidden@" + link.address(), Prefix: prefix(), Log: slog.New(slog.NewTextHandler(&text, nil))})
	l := listen(t, b, "a")
	link.cut()
	link.heal()
	l.lookedAgain(t)
	_ = b.Close()
	if got := text.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "the connection is lost") || !strings.Contains(got, "the connection is restored") {
		t.Errorf("got the log\n%s\nwant what became of the connection, and no secret", got)
	}
}

func TestABrokerThatIsClosedSaysSo(t *testing.T) {
	t.Parallel()
	b := open(t, nats.Options{Server: serve(t), Prefix: prefix()})
	listen(t, b, "a")
	b.StartCluster(broker.Node{ID: "one"}, func(context.Context, []byte) ([]byte, error) { return nil, nil })
	b.StartPresence(func(string, broker.Change) {})
	say(t, b, "a", "1")
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	second := func(_ any, err error) error { return err }
	for what, err := range map[string]error{
		"publish":   second(b.Publish(t.Context(), said("a", "2"), &store.Retention{})),
		"ephemeral": second(b.Publish(t.Context(), said("a", "2"), nil)),
		"erase":     b.Erase(t.Context(), "a", 0),
		"redact":    b.Erase(t.Context(), "a", 1),
		"subscribe": b.Subscribe(t.Context(), "b"),
		"read":      second(b.History().Read(t.Context(), "a", store.Range{})),
		"tops":      second(b.History().(broker.Tops).Tops(t.Context(), []string{"a"})),
		"ask":       second(b.Ask(t.Context(), nil)),
		"nodes":     second(b.Nodes(t.Context())),
		"present":   second(b.ListPresence(t.Context(), "a")),
		"health":    b.Health(t.Context()),
	} {
		if !errors.Is(err, store.ErrClosed) || errors.Is(err, broker.ErrUncertain) || errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", what, err, store.ErrClosed)
		}
	}
	b.Unsubscribe("a")
}

func TestCapsAreThoseOfTheOptions(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, c := range []struct {
		o    nats.Options
		want broker.Survival
	}{{nats.Options{}, broker.SurvivesKill}, {nats.Options{SyncAlways: true}, broker.SurvivesKill | broker.SurvivesPower}} {
		c.o.Server, c.o.Prefix = s, prefix()
		got := open(t, c.o).Caps()
		if want := (broker.Caps{Nodes: true, Survives: c.want, Keys: 2 * time.Minute, Payload: 1<<20 - 4<<10}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestAMessageIsTooLargeOrTheStreamIsFull(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := open(t, nats.Options{Server: s, Prefix: prefix(), MaxBytes: 3 << 19})
	l := listen(t, b, "a")
	most := b.Caps().Payload - len("said")
	for i := range 2 {
		_, err := b.Publish(t.Context(), said("a", strings.Repeat("x", most+i)), &store.Retention{})
		if errors.Is(err, broker.ErrTooLarge) != (i > 0) || (err != nil) != (i > 0) {
			t.Errorf("%d bytes of %d: got %v", most+i, most, err)
		}
	}
	l.wait(t, "the large message", func() bool { return len(l.messages) == 1 && len(l.messages[0].Payload) == most })
	for _, r := range []store.Range{{}, {Newest: true, Limit: 1}} {
		page, err := b.History().Read(t.Context(), "a", r)
		if err != nil || len(page.Messages) != 1 || len(page.Messages[0].Payload) != most || !page.Complete {
			t.Errorf("%+v: got %d messages, %v, want the large one", r, len(page.Messages), err)
		}
	}
	if tops, err := b.History().(broker.Tops).Tops(t.Context(), []string{"a"}); err != nil || tops[0].Offset != l.messages[0].Offset {
		t.Errorf("got tops %v, %v, want that of the large message", tops, err)
	}
	if _, err := b.Publish(t.Context(), said("a", strings.Repeat("x", most+1)), nil); !errors.Is(err, broker.ErrTooLarge) {
		t.Errorf("ephemeral: got %v, want %v", err, broker.ErrTooLarge)
	}
	say(t, b, "b", "small")
	_, err := b.Publish(t.Context(), said("a", strings.Repeat("x", most)), &store.Retention{})
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("a stream that is full: got %v, want %v", err, store.ErrFull)
	}
	if page := history(t, b, "b"); len(page.Messages) != 1 {
		t.Errorf("another topic: got %d messages, want the one it had", len(page.Messages))
	}
}
