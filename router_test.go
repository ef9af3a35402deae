package chime_test

import (
	"testing"

	"github.com/go-chime/chime/internal/contract"
	"github.com/go-chime/chime/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestContract is what a channel and its clients are promised:
// TestContract/<behaviour>/<transport>/<dialect>/<store>. The behaviours are in
// internal/contract.
func TestContract(t *testing.T) {
	contract.Run(t, contract.Transports, []contract.Store{
		{Name: "memory", Open: contract.OpenMemory},
		{Name: "bolt", Open: contract.OpenFile},
		{Name: "unreliable", Open: contract.OpenMemory, Broker: contract.Unreliable},
		{Name: "none"},
	})
}
