package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t, "--appendfsync", "no", "--requirepass", "correct")
		at := e.Address()
		taken := fresh()
		open(t, "redis://:correct@"+at, Options{Prefix: taken})
		b := open(t, "redis://:correct@"+at, Options{})
		if err := b.client.Do(t.Context(), b.client.B().Set().Key(taken+":settings").Value("2 something").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		nobody := redistest.Nowhere(t)
		for _, c := range []struct {
			url     string
			options Options
			want    string
			is      error
		}{
			{"redis://user:secret@" + at, Options{}, at + "]: WRONGPASS", nil},
			{"redis://:secret@" + at, Options{}, at + "]: WRONGPASS", nil},
			{"redis://" + at, Options{}, at + "]: NOAUTH", nil},
			{"redis://" + at, Options{}, "want its password, as in redis://:password@host", nil},
			{"redis://:secret@" + nobody, Options{}, nobody + "]: the broker can't be reached", broker.ErrUnavailable},
			{"unix:///nowhere/redis.sock", Options{}, "/nowhere/redis.sock]: the broker can't be reached", broker.ErrUnavailable},
			{"rediss://:secret@" + at, Options{}, "connect to [" + at, nil},
			{"http://" + at, Options{}, `URL with scheme "http": want redis`, nil},
			{"redis://:secret@%zz", Options{}, "URL: ", nil},
			{"redis://:secret@" + at + "/database", Options{}, "invalid database", nil},
			{"redis://" + at, Options{Prefix: "{a}"}, `prefix "{a}": want`, nil},
			{"redis://" + at, Options{WaitReplicas: -1}, "wait for -1 replicas: want 0 or more", nil},
			{"redis://:correct@" + at, Options{Prefix: taken}, `"2 something": want format 1`, nil},
		} {
			c.options.GiveUp = 200 * time.Millisecond
			began := time.Now()
			b, err := Open(t.Context(), c.url, c.options)
			if err == nil {
				_ = b.Close()
				t.Errorf("%s: got no error", c.url)
				continue
			}
			if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "broker/redis: ") || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s: got %v, want %q", c.url, err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the error has the password: %v", c.url, err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s: it took %v", c.url, took)
			}
		}
	})
}

// An engine that starts later is waited for.
func TestOpenWaitsForTheEngine(t *testing.T) {
	t.Parallel()
	e := redistest.Start(t, "--appendfsync", "no")
	e.Kill(t)
	opened := make(chan error, 1)
	go func() {
		b, err := Open(context.Background(), e.URL(), Options{GiveUp: patience})
		if err == nil {
			err = b.Close()
		}
		opened <- err
	}()
	e.Begin(t)
	if err := <-opened; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	e.Kill(t)
	if _, err := Open(ctx, e.URL(), Options{}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, broker.ErrUnavailable)
	}
}

func TestWhatIsRefused(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no", "--maxmemory-policy", "noeviction")
		b, _ := began(t, e.URL(), Options{GiveUp: time.Second}, "a")
		if err := second(b.Publish(t.Context(), say("a", strings.Repeat("x", b.Caps().Payload)), everything)); !errors.Is(err, broker.ErrTooLarge) {
			t.Errorf("too large: got %v, want %v", err, broker.ErrTooLarge)
		}
		p := say("a", strings.Repeat("x", b.Caps().Payload-len("said")))
		if err := second(b.Publish(t.Context(), p, everything)); err != nil {
			t.Errorf("as large as it may be: %v", err)
		}
		p = say("a", "x")
		p.Key = "\x00"
		if err := second(b.Publish(t.Context(), p, everything)); err == nil {
			t.Error("a key with a control character: got no error")
		}
		kept := publish(t, b, "b", "kept")
		e.Must(t, "CONFIG", "SET", "maxmemory", "1")
		if err := second(b.Publish(t.Context(), say("b", "x"), everything)); !errors.Is(err, store.ErrFull) || errors.Is(err, broker.ErrUncertain) {
			t.Errorf("full: got %v, want %v", err, store.ErrFull)
		}
		if err := b.Health(t.Context()); !errors.Is(err, store.ErrFull) {
			t.Errorf("health when it is full: got %v, want %v", err, store.ErrFull)
		}
		if err := b.nodes.beat(t.Context()); err != nil {
			t.Errorf("a node says that it is up when it is full: %v", err)
		}
		b.StartPresence(func(string, broker.Change) {})
		b.Present("a", joins("r1"))
		redistest.Eventually(t, "r1 is listed when it is full", func() bool {
			list, err := b.ListPresence(t.Context(), "a")
			return err == nil && len(list) == 1
		})
		if page := read(t, b, "b", store.Range{}); texts(page) != "kept\n" {
			t.Errorf("what can be read when it is full: got %q", texts(page))
		}
		p = say("b", "taken back")
		p.Erases = kept
		if err := second(b.Publish(t.Context(), p, everything)); err != nil {
			t.Errorf("what must go must go when it is full: %v", err)
		}
		if err := second(b.Publish(t.Context(), say("b", "in its place"), &store.Retention{Keep: 1})); err != nil {
			t.Errorf("what takes the place of another one when it is full: %v", err)
		}
		e.Must(t, "CONFIG", "SET", "maxmemory", "0")
		e.Must(t, "SET", b.names.keys("c")[0], "text")
		if err := second(b.Publish(t.Context(), say("c", "x"), everything)); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("a key that is used for something else: got %v", err)
		}
		if err := b.Health(t.Context()); err != nil {
			t.Errorf("health: %v", err)
		}
	})
}

// What survives is said as the engine is set up, and the least if it does not say.
func TestCapsAreThoseOfTheEngine(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		for _, c := range []struct {
			file, sync, replicas string
			waits                int64
			cluster              bool
			want                 broker.Survival
		}{
			{"no", "always", "0", 0, false, broker.SurvivesNothing},
			{"yes", "everysec", "0", 0, false, broker.SurvivesNothing},
			{"yes", "no", "0", 0, false, broker.SurvivesKill},
			{"yes", "always", "0", 0, false, broker.SurvivesKill | broker.SurvivesPower},
			{"yes", "always", "1", 0, false, broker.SurvivesNothing},
			{"yes", "always", "0", 0, true, broker.SurvivesNothing},
			{"yes", "no", "1", 1, false, broker.SurvivesKill | broker.SurvivesNode},
			{"yes", "always", "1", 1, true, broker.SurvivesKill | broker.SurvivesNode | broker.SurvivesPower},
			{"", "", "", 0, false, broker.SurvivesNothing},
		} {
			if got := survives(c.file, c.sync, c.replicas, c.waits, c.cluster); got != c.want {
				t.Errorf("%+v: got %v", c, got)
			}
		}
		e := program.Start(t, "--rename-command", "CONFIG", "\"\"")
		if got := open(t, e.URL(), Options{}).Caps(); got.Survives != broker.SurvivesNothing || !got.Nodes {
			t.Errorf("where CONFIG is not allowed: got %+v", got)
		}
	})
}

// A topic may be any text.
func TestNamesOfTopicsAreApart(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	topics := []string{"", "a", "a}", "{a", "{a}", "{}", "}{", "%", "%7B", "{", "a:b", "a\x00b", "a b\r\n", "\xff", "ü", strings.Repeat("long", 1000)}
	b, w := began(t, e.URL(), Options{}, topics...)
	slots := map[string]string{}
	for i, topic := range topics {
		publish(t, b, topic, fmt.Sprint(i))
		if got := w.wait(t, topic, 1); len(got) != 1 || string(got[0].Payload) != fmt.Sprint(i) {
			t.Errorf("%.20q: announced %v, want %d", topic, got, i)
		}
		for _, key := range append(b.names.keys(topic), b.names.present(topic), b.names.channel(topic)) {
			if other, ok := slots[key]; ok {
				t.Errorf("%.20q and %.20q have one key %q", topic, other, key)
			}
			slots[key] = topic
			// What decides on the slot is between the first { and the } behind it, if there is something.
			_, tag, _ := strings.Cut(key, "{")
			if tag, _, _ = strings.Cut(tag, "}"); tag == "" || !strings.HasPrefix(key, b.names.prefix+":{"+tag+"}:") {
				t.Errorf("%.20q: key %q has no part that decides on its slot", topic, key)
			}
		}
	}
	for i, topic := range topics {
		if page := read(t, b, topic, store.Range{}); texts(page) != fmt.Sprint(i, "\n") {
			t.Errorf("%.20q: read %q", topic, texts(page))
		}
	}
}

func TestABrokerThatIsClosedSaysSo(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	b, _ := began(t, e.URL(), Options{}, "a")
	publish(t, b, "a", "1")
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	for what, err := range map[string]error{
		"publish":   second(b.Publish(t.Context(), say("a", "2"), everything)),
		"ephemeral": second(b.Publish(t.Context(), say("a", "2"), nil)),
		"erase":     b.Erase(t.Context(), "a", 0),
		"subscribe": b.Subscribe(t.Context(), "b"),
		"read":      second(b.History().Read(t.Context(), "a", store.Range{})),
		"nodes":     second(b.Nodes(t.Context())),
		"present":   second(b.ListPresence(t.Context(), "a")),
		"health":    b.Health(t.Context()),
	} {
		if !errors.Is(err, store.ErrClosed) || errors.Is(err, broker.ErrUncertain) {
			t.Errorf("%s: got %v, want %v", what, err, store.ErrClosed)
		}
	}
	b.Unsubscribe("a")
}
