package brokertest

import (
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

func subscribe(t *testing.T, b broker.Broker, topic string) {
	t.Helper()
	if err := b.Subscribe(t.Context(), topic); err != nil {
		t.Fatalf("subscribe to %q: %v", topic, err)
	}
}

var everything = &store.Retention{}

func publish(t *testing.T, b broker.Broker, p broker.Publication, keep *store.Retention) store.Position {
	t.Helper()
	at, err := b.Publish(t.Context(), p, keep)
	if err != nil {
		t.Errorf("publish to %q: %v", p.Topic, err)
	}
	return at
}

func text(topic, s string) broker.Publication {
	return broker.Publication{Topic: topic, Message: store.Message{Event: "said", Payload: []byte(s)}}
}

func read(t *testing.T, s broker.History, topic string, r store.Range) store.Page {
	t.Helper()
	p, err := s.Read(t.Context(), topic, r)
	if err != nil {
		t.Fatalf("read %q: %v", topic, err)
	}
	return p
}
