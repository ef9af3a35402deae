package broker_test

import (
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/store"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestLocal(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) broker.Broker {
		s := store.NewMemory()
		t.Cleanup(func() { _ = s.Close() })
		return broker.Local(s)
	})
}

type counting int

func (c *counting) Published(broker.Publication) { *c++ }

func TestLocalWithoutAStore(t *testing.T) {
	b := broker.Local(nil)
	var announced counting
	b.Start(&announced)
	if b.History() != nil {
		t.Errorf("history: got %v, want none", b.History())
	}
	if _, err := b.Publish(t.Context(), broker.Publication{Topic: "a"}, nil); err != nil || announced != 1 {
		t.Errorf("got %v and %d announcements, want 1", err, announced)
	}
}
