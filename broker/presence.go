package broker

import (
	"context"
	"encoding/json"
)

// Presence is a Broker whose nodes learn who is present on the others. With a Broker
// that is none, a topic shows who is present on the node that is asked.
type Presence interface {
	Broker

	// StartPresence names whom to tell of changes in topics that this node has subscribed
	// to. It is called once, after Start. Those present elsewhere are told before
	// Subscribe returns, or soon after; then what each node announces, and who is gone with
	// a node that is gone. Of each ref a join is told first and a leave last; other than
	// that the order of two nodes is of no matter. Changed may wait, as Sink.Published may.
	StartPresence(changed func(topic string, c Change))

	// Present announces what has changed on this node, in a topic that it has
	// subscribed to: to this node before it returns, and to the others. It waits for
	// no other node, and does not fail: what does not arrive is announced again. Calls for
	// one topic come one at a time. When this node unsubscribes, nobody is present on it.
	Present(topic string, c Change)

	// ListPresence returns who is present on all nodes, in any order. With an error it
	// returns those on some of them: the error names the others, unless it is not known
	// which there are. It is asked of topics that this node has not subscribed to.
	ListPresence(ctx context.Context, topic string) ([]Present, error)
}

// Change is what has changed among those who are present in a topic. A join with the
// key of a leave is an update, or another client of the same key. The joins count
// first: whoever has one of several is never gone meanwhile.
type Change struct {
	Joins, Leaves []Present
}

// Present is one client that is present under a key. It never changes: an update is
// another one.
type Present struct {
	Key string
	// Ref is unique among all nodes, and across their restarts.
	Ref string
	// Meta is a JSON object in one line; phx_ref in it is Ref, and phx_ref_prev that
	// of what it replaces.
	Meta json.RawMessage
}
