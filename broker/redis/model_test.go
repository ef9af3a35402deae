package redis

import (
	"testing"

	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/redistest"
)

func TestAtRandomItIsLikeMemory(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		brokertest.RunModel(t, open(t, e.URL(), Options{}), brokertest.Random{Seed: need.Seed(t), Steps: need.Rounds(1500, 6000), Varies: true})
	})
}
