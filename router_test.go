package chime_test

import (
	"testing"

	"github.com/go-chime/chime/internal/contract"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/transport/transporttest"
)

func TestMain(m *testing.M) {
	need.FilesInMemory()
	leak.Main(m)
}

// TestContract is what a channel and its clients are promised:
// TestContract/<behaviour>/<transport>/<dialect>/<store>. The behaviours are in
// internal/contract.
func TestContract(t *testing.T) {
	contract.Run(t, contract.Transports, []contract.Store{
		{Name: "memory", Open: contract.OpenMemory},
		{Name: "bolt", Open: contract.OpenFile},
		{Name: "unreliable", Open: contract.OpenMemory, Brokers: contract.Unreliable},
		{Name: "none"},
	})
}

// TestContractOnNodes is the same where each request comes to another of three nodes: each
// behaviour on some of the transports.
func TestContractOnNodes(t *testing.T) {
	contract.Sample(t, need.Rounds(3, 8), contract.Transports, []contract.Store{
		{Name: "nodes", Open: contract.OpenMemory, Brokers: contract.Nodes},
	})
}

// TestContractThroughNetworks is the same through hostile networks, on the transports that
// get through: each behaviour through some of them.
func TestContractThroughNetworks(t *testing.T) {
	var all []*contract.Transport
	for _, n := range transporttest.Networks() {
		if n.Lasts == 0 {
			n = n.Faster(20) // a script may send hundreds of POSTs
		}
		all = append(all, contract.Through(n)...)
	}
	contract.Sample(t, need.Rounds(1, 4), all, []contract.Store{{Name: "memory", Open: contract.OpenMemory}})
}
