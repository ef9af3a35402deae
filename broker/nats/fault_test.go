package nats_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// The server that leads a stream ends while many publish. They wait, and nothing that was
// acknowledged is lost, nothing is doubled, and nodes are told to look.
func TestTheLeaderOfAStreamEnds(t *testing.T) {
	t.Parallel()
	const publishers, each, before = 4, 60, 100
	s := cluster(t)
	p := prefix()
	var urls []string
	for _, one := range s.list {
		urls = append(urls, strings.Replace(one.URL(), "nats://", "nats://chime:s3cret@", 1))
	}
	var nodes []*nats.Broker
	var listeners []*listener
	for i := range s.list { // each has another one first
		b := open(t, nats.Options{URL: strings.Join(append(urls[i:len(urls):len(urls)], urls[:i]...), ","), Connect: []client.Option{client.DontRandomize()}, Prefix: p, Replicas: 3, GiveUp: 30 * time.Second})
		nodes, listeners = append(nodes, b), append(listeners, listen(t, b, "a"))
	}
	stream, err := administer(t, s.list[0]).Stream(t.Context(), p+"-0")
	if err != nil {
		t.Fatal(err)
	}
	leader := stream.CachedInfo().Cluster.Leader

	var done atomic.Int64
	var publishing sync.WaitGroup
	enough := make(chan struct{})
	for w := range publishers {
		publishing.Go(func() {
			for i := range each {
				say(t, nodes[w%len(nodes)], "a", fmt.Sprint(w, " ", i))
				if done.Add(1) == before {
					close(enough)
				}
			}
		})
	}
	<-enough
	for i, o := range s.setup {
		if o.Name == leader {
			_ = s.list[i].Close()
		}
	}
	publishing.Wait()
	for i, b := range nodes {
		listeners[i].lookedAgain(t)
		page := history(t, b, "a")
		texts := map[string]bool{}
		for _, m := range page.Messages {
			texts[string(m.Payload)] = true
		}
		if len(texts) != publishers*each || len(page.Messages) != publishers*each || !page.Complete {
			t.Errorf("node %d: got %d messages, %d of them different, complete %t, want %d", i, len(page.Messages), len(texts), page.Complete, publishers*each)
		}
		next := map[byte]int{}
		for _, m := range page.Messages {
			if want := fmt.Sprint(string(m.Payload[0]), " ", next[m.Payload[0]]); string(m.Payload) != want {
				t.Fatalf("node %d: got %q, want %q: one publisher's order is kept", i, m.Payload, want)
			}
			next[m.Payload[0]]++
		}
	}
	last := say(t, nodes[0], "a", "last")
	for _, l := range listeners { // they are still told
		l.wait(t, "the last message", func() bool {
			n := len(l.messages)
			return n > 0 && l.messages[n-1].Offset == last.Offset
		})
	}
}

// A node that is cut off and comes back is told to look. Who publishes meanwhile waits.
func TestANodeIsCutOff(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := prefix()
	link := proxy(t, strings.TrimPrefix(s.URL(), "nats://"))
	cut := open(t, nats.Options{URL: "nats://" + link.address(), Prefix: p, GiveUp: 20 * time.Second})
	other := open(t, nats.Options{Server: s, Prefix: p})
	l := listen(t, cut, "a")
	listen(t, other, "a")
	say(t, cut, "a", "before")
	l.wait(t, "the first message", func() bool { return len(l.messages) == 1 })

	link.cut()
	say(t, other, "a", "meanwhile")
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := cut.Publish(short, said("a", "in vain"), &store.Retention{}); !errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, broker.ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("publish while cut off: got %v, want that it was given up with its context", err)
	}
	if err := cut.Health(short); err == nil {
		t.Error("health while cut off: got none, want an error")
	}
	var waiting sync.WaitGroup
	waiting.Go(func() { say(t, cut, "a", "waits") })
	link.heal()
	waiting.Wait()
	l.lookedAgain(t)
	var texts []string
	for _, m := range history(t, cut, "a").Messages {
		if string(m.Payload) != "in vain" { // it may have been stored
			texts = append(texts, string(m.Payload))
		}
	}
	if got := strings.Join(texts, " "); got != "before meanwhile waits" {
		t.Errorf("got %q, want what was published", got)
	}
	if err := cut.Health(t.Context()); err != nil {
		t.Errorf("health when it is back: %v", err)
	}
}

// A server ends and begins again with what it has stored: a key is still known.
func TestTheServerBeginsAgain(t *testing.T) {
	t.Parallel()
	o := embedded.Options{Dir: t.TempDir(), Name: "alone", Listen: need.Free(t), Log: quiet}
	s, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, nats.Options{URL: "nats://" + o.Listen, Prefix: prefix(), GiveUp: 30 * time.Second})
	l := listen(t, b, "a")
	once := said("a", "once")
	once.Key = "key"
	first, err := b.Publish(t.Context(), once, &store.Retention{})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if again, err := b.Publish(t.Context(), once, &store.Retention{}); again != first || err != nil {
			t.Errorf("the same again: got %v, %v, want %v", again, err, first)
		}
	})
	if s, err = embedded.Start(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	waiting.Wait()
	l.lookedAgain(t)
	second := say(t, b, "a", "second")
	l.wait(t, "what is published afterwards", func() bool { return l.messages[len(l.messages)-1].Offset == second.Offset })
	if page := history(t, b, "a"); len(page.Messages) != 2 || !page.Complete || page.Epoch != first.Epoch {
		t.Errorf("got %+v, want two messages of the same epoch", page)
	}
}

// A stream is deleted by its operator. It is made anew, with another epoch, and the node goes
// on with it.
func TestAStreamIsDeleted(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := prefix()
	b := open(t, nats.Options{Server: s, Prefix: p})
	l := listen(t, b, "a")
	before := say(t, b, "a", "before")
	if err := administer(t, s).DeleteStream(t.Context(), p+"-0"); err != nil {
		t.Fatal(err)
	}
	after := say(t, b, "a", "after")
	if after.Epoch == before.Epoch || b.History().Epoch() != after.Epoch {
		t.Errorf("got epoch %q of the history %q, want another than %q", after.Epoch, b.History().Epoch(), before.Epoch)
	}
	l.lookedAgain(t)
	last := say(t, b, "a", "last")
	l.wait(t, "what is published afterwards", func() bool {
		m := l.messages[len(l.messages)-1]
		return m.Offset == last.Offset && m.Epoch == last.Epoch
	})
	if page := history(t, b, "a"); len(page.Messages) != 2 || page.Epoch != after.Epoch {
		t.Errorf("got %+v, want what was published since", page)
	}
}

// Where nobody answers, a call is given up in time, and says what is known of its outcome.
func TestWhatIsGivenUp(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Name: "alone", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, nats.Options{Server: s, Prefix: prefix(), GiveUp: 300 * time.Millisecond})
	listen(t, b, "a")
	_ = s.Close()
	until(t, "the node knows", func() bool { // before, what is ephemeral can be sent, and is lost
		_, err := b.Nodes(t.Context())
		return err != nil
	})
	for what, call := range map[string]func() error{
		"publish":   func() error { _, err := b.Publish(t.Context(), said("a", "x"), &store.Retention{}); return err },
		"ephemeral": func() error { _, err := b.Publish(t.Context(), said("a", "x"), nil); return err },
		"read":      func() error { _, err := b.History().Read(t.Context(), "a", store.Range{}); return err },
		"erase":     func() error { return b.Erase(t.Context(), "a", 1) },
		"subscribe": func() error { return b.Subscribe(t.Context(), "b") },
		"health":    func() error { return b.Health(t.Context()) },
	} {
		if err := call(); !errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, broker.ErrUncertain) {
			t.Errorf("%s: got %v, want %v", what, err, broker.ErrUnavailable)
		}
	}
	if _, err := b.Nodes(t.Context()); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("nodes: got %v, want %v", err, broker.ErrUnavailable)
	}
}

// A stream has no leader for longer than a call waits. Calls end with what is known of their outcome,
// the log says so once, and when there is a leader again the node goes on.
func TestAMajorityIsAwayForLong(t *testing.T) {
	t.Parallel()
	need.Patience(t, "half a minute")
	s := cluster(t)
	var log text
	b := open(t, nats.Options{Server: s.list[0], Prefix: prefix(), Replicas: 3, GiveUp: time.Second, Log: log.Logger()})
	l := listen(t, b, "a")
	before := say(t, b, "a", "before")
	for i := 1; i < len(s.list); i++ {
		_ = s.list[i].Close()
	}
	until(t, "the log says that there is no leader", func() bool {
		_, err := b.Publish(t.Context(), said("a", "meanwhile"), &store.Retention{})
		if !errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, broker.ErrUncertain) {
			t.Fatalf("publish without a majority: got %v, want %v or %v", err, broker.ErrUnavailable, broker.ErrUncertain)
		}
		return strings.Contains(log.String(), "a stream can't be used")
	})
	if err := b.Health(t.Context()); err == nil {
		t.Error("health without a leader: got none, want an error")
	}
	for i := 1; i < len(s.list); i++ {
		s.start(t, i)
	}
	log.wait(t, "a stream can be used again")
	l.lookedAgain(t)
	var after store.Position
	until(t, "something can be published", func() bool {
		at, err := b.Publish(t.Context(), said("a", "after"), &store.Retention{})
		after = at
		return err == nil
	})
	l.wait(t, "what is published afterwards", func() bool { return l.messages[len(l.messages)-1].Offset == after.Offset })
	if page := history(t, b, "a"); page.Messages[0].Offset != before.Offset || !page.Complete {
		t.Errorf("got %+v, want all from the first message on", page)
	}
}
