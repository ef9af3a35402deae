package nats_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/store"
)

// streamConfig is a stream as Open makes it, with an epoch of its own.
func streamConfig(prefix string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: prefix + "-0", Subjects: []string{prefix + ".log.0.epoch.*"}, Discard: jetstream.DiscardNew, AllowDirect: true, AllowRollup: true,
		Metadata:  map[string]string{"chime-format": "1", "chime-streams": "1"},
		RePublish: &jetstream.RePublish{Source: prefix + ".log.0.epoch.*", Destination: prefix + ".say.0.epoch.{{wildcard(1)}}"},
	}
}

// Any UTF-8 is the name of a topic, also what means something in a subject.
func TestAnyNameIsATopic(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := open(t, nats.Options{Server: s, Prefix: prefix(), Streams: 3})
	names := []string{"", " ", ".", "a.b", "a..b", "*", ">", "a.>", "$JS.API", "tab\there", "chat_room:42", "ünïcödé ☃", "a/b\\c", "%41", "A", strings.Repeat("x", 255), strings.Repeat("é", 127), strings.Repeat(".", 255)}
	l := listen(t, b, names...)
	for i, name := range names {
		say(t, b, name, fmt.Sprint(i))
	}
	l.wait(t, "all messages", func() bool { return len(l.messages) >= len(names) })
	for _, m := range l.messages {
		if i := string(m.Payload); names[must(i)] != m.Topic {
			t.Errorf("message %s was announced in %q, want %q", i, m.Topic, names[must(i)])
		}
	}
	tops, err := b.History().(broker.Tops).Tops(t.Context(), append(names, "nothing was said here"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		page := history(t, b, name)
		if len(page.Messages) != 1 || string(page.Messages[0].Payload) != fmt.Sprint(i) || !page.Complete {
			t.Errorf("%q: got %+v, want message %d", name, page, i)
		}
		if want := (store.Position{Epoch: page.Epoch, Offset: page.Top}); tops[i] != want {
			t.Errorf("%q: got top %v, want %v", name, tops[i], want)
		}
	}
	if tops[len(names)].Offset != 0 || tops[len(names)].Epoch == "" {
		t.Errorf("a topic without messages: got top %v, want 0 of an epoch", tops[len(names)])
	}
}

func must(s string) (n int) {
	_, _ = fmt.Sscan(s, &n)
	return n
}

// servedStream is the first of a prefix, as an operator sees it.
type servedStream struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

func find(t *testing.T, s *embedded.Server, prefix string) *servedStream {
	t.Helper()
	js := administer(t, s)
	stream, err := js.Stream(t.Context(), prefix+"-0")
	if err != nil {
		t.Fatal(err)
	}
	return &servedStream{js, stream}
}

// subject is that of a topic, as documented: "t" and the topic in base64url.
func (s *servedStream) subject(t *testing.T, topic string) string {
	t.Helper()
	subjects := s.stream.CachedInfo().Config.Subjects
	if len(subjects) != 1 {
		t.Fatalf("subjects: got %q, want one", subjects)
	}
	return strings.TrimSuffix(subjects[0], "*") + "t" + base64.RawURLEncoding.EncodeToString([]byte(topic))
}
