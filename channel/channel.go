// Package channel is where an application meets its clients. A client joins
// topics ("chat_room:42"); the code for all topics of a pattern
// ("chat_room:{id}") is a [Channel], with three methods: a client joins, sends
// messages, and leaves. It is the same code whatever transport carries the
// client.
//
// What is promised, per client and topic: HandleJoined comes first, messages
// are handled one at a time and in order, HandleLeave comes last and exactly
// once. Everybody in a topic sees its retained messages in one order, each
// once, from wherever their join began. A handler that blocks or panics hurts
// its own client and topic only.
package channel

import (
	"context"
	"errors"

	"github.com/go-chime/chime/transport"
)

// Channel is the code for the topics of a pattern. One value serves all
// clients: its methods run concurrently for different clients and topics, and
// one at a time for one client in one topic.
//
// Contexts have the values of the request that opened the client socket. They
// are cancelled when the client leaves; see HandleLeave.
type Channel interface {
	// HandleJoined decides who may join: only Accept lets a client in. M holds
	// the payload of the join. A Push in here follows the reply; a Broadcast
	// reaches the members, to whom this client does not belong yet.
	HandleJoined(ctx context.Context, s *Socket, m Message) (Accepted, error)
	// HandleMessage handles one message. What it returns is the reply: nil, nil
	// is ok, an error made by Refuse is read by the client, any other reaches
	// it as "internal". Later says that Socket.Reply follows.
	HandleMessage(ctx context.Context, s *Socket, m Message) (any, error)
	// HandleLeave is called once for each accepted join, however the client
	// went. What it had sent before is handled first, for up to 5 s, unless why
	// is Kicked or Slow, or the channel called Leave. Ctx ends 5 s after the call
	// began. The socket can still broadcast, but not push.
	HandleLeave(ctx context.Context, s *Socket, why Reason)
}

// Accepted is the answer of HandleJoined. The zero value refuses: a forgotten
// return lets nobody in.
type Accepted struct {
	ok    bool
	reply any
}

// Accept lets a client in. Reply encodes to a JSON object, or is nil, or is
// Binary if the channel has no History, whose @history goes into the reply. With
// one that can't be sent the client is told "internal" and is not let in, the
// log has why, and HandleLeave is called with Panicked: the channel had accepted.
func Accept(reply any) Accepted { return Accepted{true, reply} }

// AnyoneMayJoin can be embedded in a Channel for which no one is turned away.
type AnyoneMayJoin struct{}

// HandleJoined accepts.
func (AnyoneMayJoin) HandleJoined(context.Context, *Socket, Message) (Accepted, error) {
	return Accept(nil), nil
}

// NothingOnLeave can be embedded in a Channel that does not care who leaves.
type NothingOnLeave struct{}

// HandleLeave does nothing.
func (NothingOnLeave) HandleLeave(context.Context, *Socket, Reason) {}

// Later is returned by HandleMessage as its reply when Socket.Reply will give
// the real one.
var Later any = later{}

type later struct{}

// Error is an error that a client may read: its reply is
// {"status":"error","response":{"reason":Reason}}.
type Error struct {
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Refuse returns an error whose reason the client may read.
func Refuse(reason string) error { return &Error{reason} }

// Errors of sending.
var (
	// ErrLeft says that the client is not in the topic any more.
	ErrLeft = errors.New("client has left the topic")
	// ErrNoChannel says that no pattern matches a topic.
	ErrNoChannel = errors.New("no channel for this topic")
	// ErrNoHistory says that a topic keeps nothing.
	ErrNoHistory = errors.New("topic has no history")
)

// Reason says why a client left a topic.
type Reason = transport.Reason

// The reasons that HandleLeave gets: those of one topic, and those for which the
// client socket ended, with all its topics.
const (
	Left     Reason = "left"     // the client left the topic, or Socket.Leave
	Replaced Reason = "replaced" // it joined the topic again
	Panicked Reason = "panicked" // a handler of this client and topic panicked, or called runtime.Goexit
	Unread   Reason = "unread"   // the history that it was to be sent could not be read; the log has the error

	Closed  = transport.Closed  // it closed its connection, said goodbye, or sent what ends one (1002, 1007, 1009)
	Gone    = transport.Gone    // the connection broke or fell silent, and who could come back did not in time
	Slow    = transport.Slow    // its queue or inbox was full, a write to one that can't come back stuck, or retention overtook its catching up
	Kicked  = transport.Kicked  // Disconnect
	Expired = transport.Expired // Identity.Expires has come
	Drained = transport.Drained // Shutdown
)
