package redis

import (
	"testing"

	"github.com/go-chime/chime/internal/nodetest"
)

// A draft is seen to grow on a node that does not write it, over a connection that is cut
// meanwhile, and is stopped there.
func TestADraftGrowsOnTwoNodes(t *testing.T) {
	t.Parallel()
	nodes, p := nearAndFar(t)
	hubs := nodetest.Hubs(t, nodes[0], nodes[1])
	up(t, nodes[1], "node-0 node-1")
	nodetest.DraftGrows(t, hubs, p.cut)
}
