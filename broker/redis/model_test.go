package redis

import (
	"testing"

	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/internal/need"
)

func TestAtRandomItIsLikeMemory(t *testing.T) {
	e := start(t, "--appendfsync", "no")
	brokertest.RunModel(t, open(t, e.url(), Options{}), brokertest.Random{Seed: need.Seed(t), Steps: need.Rounds(1500, 6000), Varies: true})
}
