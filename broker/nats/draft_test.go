package nats_test

import (
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/nodetest"
)

// A draft is seen to grow on a node of another server than the one that writes it has, and is
// stopped there.
func TestADraftGrowsOnTwoNodes(t *testing.T) {
	t.Parallel()
	nodes := cluster(t).nodes(t, 2)
	hubs := nodetest.Hubs(t, nodes...)
	for _, b := range nodes { // who learns of each other within seconds
		until(t, "both nodes are known", func() bool {
			list, err := b.(broker.Cluster).Nodes(t.Context())
			return err == nil && len(list) == 2
		})
	}
	nodetest.DraftGrows(t, hubs, func() {})
}
