package nats_test

import (
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// What a longer retention brings back is another test's: the servers have let go of it.
func TestAtRandomItIsLikeMemory(t *testing.T) {
	b := open(t, nats.Options{Server: serve(t), Prefix: prefix(), KeyWindow: time.Hour})
	brokertest.RunModel(t, b, brokertest.Random{Seed: need.Seed(t), Steps: need.Rounds(1500, 6000), Proven: 0.6})
}

// ignored is a sink that nobody looks at.
type ignored struct{}

func (ignored) Published(broker.Publication)  {}
func (ignored) Erased(string, store.Position) {}
func (ignored) Lost(string)                   {}
