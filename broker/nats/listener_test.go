package nats_test

import (
	"sync"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/store"
)

// listener is a sink that keeps what it is told.
type listener struct {
	mu       sync.Mutex // guards the rest
	came     sync.Cond
	messages []broker.Publication
	losses   int
}

func listen(t *testing.T, b *nats.Broker, topics ...string) *listener {
	t.Helper()
	l := &listener{}
	l.came.L = &l.mu
	b.Start(l)
	for _, topic := range topics {
		if err := b.Subscribe(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *listener) Published(p broker.Publication) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, p)
	l.came.Broadcast()
}
func (l *listener) Erased(string, store.Position) {}
func (l *listener) Lost(string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losses++
	l.came.Broadcast()
}

// wait returns when something is so.
func (l *listener) wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	late := false
	timer := time.AfterFunc(30*time.Second, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		late = true
		l.came.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !so() {
		if late {
			t.Fatalf("%s: not within 30s: %d announcements, %d losses", what, len(l.messages), l.losses)
		}
		l.came.Wait()
	}
}

func (l *listener) lookedAgain(t *testing.T) {
	t.Helper()
	l.wait(t, "the sink is told that some may be lost", func() bool { return l.losses > 0 })
}

func say(t *testing.T, b *nats.Broker, topic, text string) store.Position {
	t.Helper()
	at, err := b.Publish(t.Context(), said(topic, text), &store.Retention{})
	if err != nil {
		t.Errorf("publish %q: %v", text, err)
	}
	return at
}

func said(topic, text string) broker.Publication {
	return broker.Publication{Topic: topic, Message: store.Message{Event: "said", Payload: []byte(text)}}
}

func history(t *testing.T, b *nats.Broker, topic string) store.Page {
	t.Helper()
	page, err := b.History().Read(t.Context(), topic, store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// administer connects as an operator does.
func administer(t *testing.T, s *embedded.Server) jetstream.JetStream {
	t.Helper()
	conn, err := client.Connect("", client.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// until asks again and again: nobody tells of what nodes know of each other.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !so(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30s", what)
		}
	}
}
