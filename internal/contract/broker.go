package contract

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/store"
)

// Unreliable publishes through a broker whose announcements are lost, late and in
// disorder, until Publish returns: then the members have been sent what was
// published, or are about to read it.
func Unreliable(_ *testing.T, s store.Store) []broker.Broker {
	return []broker.Broker{settling{brokertest.NewUnreliable(local.New(s), rand.Uint64())}}
}

type settling struct{ *brokertest.Unreliable }

func (s settling) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	defer s.Settle()
	return s.Unreliable.Publish(ctx, p, keep)
}
