package nats_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/nodetest"
	"github.com/go-chime/chime/store"
)

// text is a log that is waited for.
type text struct{ nodetest.Log }

func (w *text) wait(t *testing.T, want string) {
	t.Helper()
	until(t, fmt.Sprintf("the log says %q", want), func() bool { return strings.Contains(w.String(), want) })
}

// update changes a stream as an operator does.
func update(t *testing.T, s *embedded.Server, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	js := administer(t, s)
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	change(&c)
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// An operator changes a bound of a stream while nodes run: they go on with it, and the log says
// what differs. Adopt is for the start: a node that runs changes nothing back.
func TestABoundOfAStreamIsChanged(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	var log text
	b := open(t, nats.Options{Server: s, Prefix: p, Adopt: true, Log: log.Logger()})
	l := listen(t, b, "a")
	say(t, b, "a", "before")
	update(t, s, p+"-0", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour })
	log.wait(t, "max age: it has 1h0m0s, want 0s")
	l.lookedAgain(t)
	if got := find(t, s, p).stream.CachedInfo().Config.MaxAge; got != time.Hour {
		t.Errorf("the bound is %v again, want what the operator has set", got)
	}
	last := say(t, b, "a", "after")
	l.wait(t, "what is published afterwards", func() bool { return l.messages[len(l.messages)-1].Offset == last.Offset })
}

// A stream that nodes can't rely on any more is in the log, and holds up no other.
func TestAStreamIsMadeUseless(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	link := proxy(t, strings.TrimPrefix(s.URL(), "nats://"))
	var log text
	b := open(t, nats.Options{URL: "nats://" + link.address(), Prefix: p, Streams: 2, Log: log.Logger()})
	update(t, s, p+"-0", func(c *jetstream.StreamConfig) { c.RePublish = nil })
	topics := []string{"a", "b"} // one in each
	l := listen(t, b, topics...)
	link.cut()
	link.heal()
	log.wait(t, "republish: it has none")
	l.lookedAgain(t)
	update(t, s, p+"-0", func(c *jetstream.StreamConfig) {
		from := strings.TrimSuffix(c.Subjects[0], "*")
		c.RePublish = &jetstream.RePublish{Source: from + "*", Destination: strings.Replace(from, ".log.", ".say.", 1) + "{{wildcard(1)}}"}
	})
	log.wait(t, "can be used again")
	for _, topic := range topics {
		say(t, b, topic, topic)
	}
	l.wait(t, "both are announced", func() bool { return len(l.messages) == len(topics) })
}

// An operator purges a stream: who was in a topic, or comes back to it, learns that there is a gap.
func TestAStreamIsPurged(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	b := open(t, nats.Options{Server: s, Prefix: p})
	l := listen(t, b, "a")
	first := say(t, b, "a", "1")
	before := say(t, b, "a", "2")
	if err := find(t, s, p).stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := say(t, b, "a", "3")
	l.wait(t, "what is published afterwards", func() bool { return len(l.messages) == 3 })
	if got := l.messages[2]; got.Prev == before.Offset || got.Offset != after.Offset || after.Offset <= before.Offset {
		t.Errorf("announced %d behind %d, want another than %d, and behind it", got.Offset, got.Prev, before.Offset)
	}
	for _, at := range []store.Position{first, before} {
		page, err := b.History().Read(t.Context(), "a", store.Range{After: at.Offset})
		if err != nil || page.Complete || len(page.Messages) != 1 || page.Top != after.Offset {
			t.Errorf("after %d: got %+v, %v, want the last message, and not that all is there", at.Offset, page, err)
		}
	}
}

// A server comes back with less than it had, as after a power cut, or from a copy: offsets are given
// again, and what is published then is announced.
func TestAStreamHasLostItsLastMessages(t *testing.T) {
	t.Parallel()
	o := embedded.Options{Dir: t.TempDir(), Name: "alone", Listen: need.Free(t), Log: quiet}
	var s *embedded.Server
	start := func() {
		var err error
		if s, err = embedded.Start(o); err != nil {
			t.Fatal(err)
		}
	}
	start()
	defer func() { _ = s.Close() }()
	var log text
	b := open(t, nats.Options{URL: "nats://" + o.Listen, Prefix: prefix(), GiveUp: 30 * time.Second, Log: log.Logger()})
	l := listen(t, b, "a")
	kept := say(t, b, "a", "kept")
	_ = s.Close()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(o.Dir)); err != nil {
		t.Fatal(err)
	}
	start()
	for range 3 {
		say(t, b, "a", "lost")
	}
	_ = s.Close()
	o.Dir = backup
	start()
	log.wait(t, "a stream has lost its last messages")
	again := say(t, b, "a", "again")
	if again.Offset != kept.Offset+1 || again.Epoch != kept.Epoch {
		t.Errorf("got %v, want the offset behind %v", again, kept)
	}
	l.wait(t, "what has an offset that was given before", func() bool {
		last := l.messages[len(l.messages)-1]
		return string(last.Payload) == "again" && last.Offset == again.Offset && last.Prev == kept.Offset
	})
	m := said("a", "ephemeral")
	if _, err := b.Publish(t.Context(), m, nil); err != nil {
		t.Fatal(err)
	}
	l.wait(t, "an ephemeral message", func() bool { return string(l.messages[len(l.messages)-1].Payload) == "ephemeral" })
}

// A stream is deleted while nobody publishes: who subscribes or reads finds another.
func TestAStreamIsDeletedInSilence(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for what, call := range map[string]func(*nats.Broker) error{
		"subscribe": func(b *nats.Broker) error { return b.Subscribe(t.Context(), "b") },
		"read":      func(b *nats.Broker) error { _, err := b.History().Read(t.Context(), "b", store.Range{}); return err },
		"newest": func(b *nats.Broker) error {
			_, err := b.History().Read(t.Context(), "b", store.Range{Newest: true, Limit: 3})
			return err
		},
	} {
		p := prefix()
		b := open(t, nats.Options{Server: s, Prefix: p, GiveUp: 30 * time.Second})
		listen(t, b, "a")
		before := say(t, b, "a", "before")
		if err := administer(t, s).DeleteStream(t.Context(), p+"-0"); err != nil {
			t.Fatal(err)
		}
		if err := call(b); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		until(t, what+": the epoch is another", func() bool { return b.History().Epoch() != before.Epoch })
	}
}

// hired starts a server whose user may do what rights say.
func hired(t *testing.T, rights *server.Permissions) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{{Username: "app", Password: "right", Permissions: rights}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server takes no connections")
	}
	return s
}

// The rights that docs/brokers.md names are enough, and one that is missing is named at once.
func TestRights(t *testing.T) {
	t.Parallel()
	allow := func(list ...string) *server.SubjectPermission { return &server.SubjectPermission{Allow: list} }
	enough := server.Permissions{Publish: allow("chime.>", "$JS.API.>", "_INBOX.>"), Subscribe: allow("chime.>", "$JS.API.>", "$JS.EVENT.ADVISORY.STREAM.>", "_INBOX.>")}
	open1 := func(rights server.Permissions, log *slog.Logger) (*nats.Broker, error) {
		url := strings.Replace(hired(t, &rights).ClientURL(), "nats://", "nats://app:right@", 1)
		return nats.Open(t.Context(), nats.Options{URL: url, GiveUp: time.Minute, Log: log})
	}
	var log text
	b, err := open1(enough, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, b, "a")
	say(t, b, "a", "x")
	l.wait(t, "the message", func() bool { return len(l.messages) == 1 })
	history(t, b, "a")
	if err := b.Erase(t.Context(), "a", l.messages[0].Offset); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil || strings.Contains(log.String(), "lacks a right") {
		t.Errorf("close: %v; the log:\n%s", err, log.String())
	}
	for want, rights := range map[string]server.Permissions{
		"$JS.API": {Publish: allow("chime.>"), Subscribe: enough.Subscribe},
		"_INBOX":  {Publish: enough.Publish, Subscribe: allow("chime.>")},
	} {
		b, err := open1(rights, quiet)
		if err == nil {
			_ = b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "lacks a right") || !strings.Contains(strings.ToUpper(err.Error()), want) {
			t.Errorf("without %s: got %v, want an error that names it", want, err)
		}
	}
}

// A server refuses a node for a while, as one that does not know its accounts yet: the node comes
// back when it may.
func TestANodeIsRefusedForAWhile(t *testing.T) {
	t.Parallel()
	o := embedded.Options{Dir: t.TempDir(), Name: "alone", Listen: need.Free(t), Secret: "right", Log: quiet}
	s, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	p := prefix()
	b := open(t, nats.Options{URL: "nats://chime:right@" + o.Listen, Prefix: p, GiveUp: 30 * time.Second})
	l := listen(t, b, "a")
	_ = s.Close()
	var log text
	o.Secret, o.Log = "another", log.Logger()
	if s, err = embedded.Start(o); err != nil {
		t.Fatal(err)
	}
	until(t, "it is refused", func() bool { // by default nats.go closes the connection after two times
		return strings.Count(log.String(), "authentication error") > 2
	})
	_ = s.Close()
	o.Secret = "right"
	if s, err = embedded.Start(o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	l.lookedAgain(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := b.Health(ctx); err != nil {
		t.Errorf("health when it is back: %v", err)
	}
}
