// Package broker joins the nodes of an application: what is published on one is
// announced on all, in the one order of its topic. Package local is the broker
// of a single process; package brokertest holds every implementation to what
// this package says.
//
// It promises one order per topic, and that a node learns of a message or is
// told that it may have missed some. It does not promise that a node learns of
// an ephemeral message.
package broker

import (
	"context"

	"github.com/go-chime/chime/store"
)

// Broker publishes messages and reads their history. Its methods are safe for
// concurrent use; Start is called once, before all others. One that can tell whether it
// takes messages has a method Health(context.Context) error as well, which the
// Router asks; one with a method Stats() (store.Stats, bool) has the numbers of its
// store shown. What joins several nodes is a [Cluster] and a [Presence] as well.
type Broker interface {
	// Start names the sink of this node.
	Start(sink Sink)

	// Subscribe has this node learn of a topic. It is a barrier: what is
	// published after it has returned is announced, and what was retained
	// before is in the history. A topic is subscribed once at a time.
	Subscribe(ctx context.Context, topic string) error

	// Unsubscribe ends that. Nothing is announced after it has returned, since
	// what is announced later may have been erased. It waits at most for an
	// announcement that goes on.
	Unsubscribe(topic string)

	// Caps is what the broker promises beyond this. It does not change after Start.
	Caps() Caps

	// Publish appends p to the history of its topic if keep is given, and
	// announces it to every node that has subscribed. Appending and announcing
	// are one step: the order of the announcements is that of the offsets. It
	// begins nothing when ctx is already done, and completes what it has begun
	// whatever becomes of ctx. After an error nothing was announced, unless it is
	// ErrUncertain. A broker that can't be reached has the call wait until ctx ends, or until
	// it gives up, then with ErrUnavailable. It returns when p is retained; a broker of one process returns when p was announced
	// too. The position is that of p, and zero if p is ephemeral. If a message that
	// is retained has p's Key, nothing is published, and the position is that of
	// this one; see store.Store. If p Erases something every sink is told of that
	// first, as of an Erase.
	Publish(ctx context.Context, p Publication, keep *store.Retention) (store.Position, error)

	// Erase removes the message at offset from the history of a topic, or all of
	// its messages if offset is 0, and tells every sink that has subscribed. It
	// returns store.ErrNotFound for a message that is not kept.
	Erase(ctx context.Context, topic string, offset uint64) error

	// History is what is retained; nil if nothing ever is.
	History() History

	// Close releases what the broker has opened itself. Nothing is announced
	// after it has returned.
	Close() error
}

// History is what is retained of all topics, as far as a node reads it. A
// [store.Store] is one.
type History interface {
	// Epoch is that of the offsets given now. It may change while the broker
	// runs; then Sink.Lost is called for every topic. Where topics have epochs of their
	// own it is any of them, and that of a page or a publication counts.
	Epoch() string
	// Read is Store.Read.
	Read(ctx context.Context, topic string, r store.Range) (store.Page, error)
}

// Publication is a message on its way to the members of a topic.
type Publication struct {
	store.Message        // its Offset and Prev are 0 if it is ephemeral
	Epoch         string // of Offset
	Topic         string
	From          string // the ID of a client socket that is not sent it; "" is none
}

// Sink is told what happens to the topics that a node has subscribed to. Calls for
// one topic come one at a time, but for ephemeral publications, which may come at
// the same time as anything else. A call for one topic should not hold up those for
// others: Published may wait.
type Sink interface {
	// Published announces p. It waits for no client, but up to a second until
	// this node has written what it has announced in the topic before, so that
	// who publishes does not run ahead. Announcements of retained messages come in the
	// order of their offsets. One may be missing: the next one's Prev shows it.
	Published(p Publication)
	// Erased says that the message at a position, or all up to now if its offset is
	// 0, is no longer in the history. What was erased is not announced after that;
	// of what was announced before, the history may have some that came after the
	// erasing. The epoch is that of what was erased: in another one an offset is
	// that of another message.
	Erased(topic string, at store.Position)
	// Lost says that announcements of a topic may be missing, erasures among them, or
	// those of all topics if it is "": the sink reads the history to learn of them. If
	// that has less than was announced, in the same epoch, its engine has lost messages.
	Lost(topic string)
}
