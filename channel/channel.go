// Package channel is where an application meets its clients. A client joins
// topics ("chat_room:42"); the code for all topics of a pattern
// ("chat_room:{id}") is a [Channel], with three methods: a client joins, sends
// messages, and leaves. It is the same code whatever transport carries the
// client.
//
// What is promised, per client and topic: HandleJoined comes first, messages
// are handled one at a time and in order, HandleLeave comes last and exactly
// once. Everybody in a topic sees its retained messages in one order, each
// once, from the position at which their join begins. A handler that blocks or panics hurts
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
	// HandleJoined decides whether the client may join: only Accept lets it in. M
	// has the payload of the join. A Push from here follows the reply; a Broadcast
	// reaches the members, of which this client is none yet.
	HandleJoined(ctx context.Context, s *Socket, m Message) (Accepted, error)
	// HandleMessage handles one message and returns the reply. Nil, nil is "ok".
	// The client reads the reason of an error made by Refuse, and "internal" in
	// place of any other. Later says that Socket.Reply follows.
	HandleMessage(ctx context.Context, s *Socket, m Message) (any, error)
	// HandleLeave is called once for each accepted join, however that ended. What
	// the client had sent before is handled first, for up to 5 s, unless why is
	// Kicked or Slow, or the channel called Leave. Ctx ends 5 s after the call
	// begins. The socket can still broadcast, but not push.
	HandleLeave(ctx context.Context, s *Socket, why Reason)
}

// MemberHandler is a Channel that has something to say once a client is a member.
type MemberHandler interface {
	Channel
	// HandleMember is called once for each join whose reply was sent, when the client
	// is a member: what it pushes follows the reply, what it broadcasts reaches the
	// client too unless it is a BroadcastFrom, and of two who join at once each is in
	// the Members of the other or reached by its broadcast. The client's messages wait
	// until it returns, and HandleLeave comes after it. Replayed messages may come
	// before or after what it sends.
	HandleMember(ctx context.Context, s *Socket)
}

// Accepted is the answer of HandleJoined. The zero value refuses: a forgotten
// return lets nobody in.
type Accepted struct {
	ok    bool
	reply any
}

// Accept lets a client in. Reply encodes to a JSON object, or is nil. In a channel
// without a History, whose position goes into the reply, it may be Binary too. If
// the reply can't be sent, the client reads "internal" and is not let in, the log
// has the error, and HandleLeave is called with Panicked: the channel had accepted.
func Accept(reply any) Accepted { return Accepted{true, reply} }

// AnyoneMayJoin can be embedded in a Channel that refuses no client.
type AnyoneMayJoin struct{}

// HandleJoined accepts.
func (AnyoneMayJoin) HandleJoined(context.Context, *Socket, Message) (Accepted, error) {
	return Accept(nil), nil
}

// ListenOnly can be embedded in a Channel whose clients send nothing.
type ListenOnly struct{}

// HandleMessage refuses: "listen only".
func (ListenOnly) HandleMessage(context.Context, *Socket, Message) (any, error) {
	return nil, errListenOnly
}

var errListenOnly = Refuse("listen only")

// NothingOnLeave can be embedded in a Channel that does nothing when a client leaves.
type NothingOnLeave struct{}

// HandleLeave does nothing.
func (NothingOnLeave) HandleLeave(context.Context, *Socket, Reason) {}

// Later is returned by HandleMessage when Socket.Reply will give the reply.
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
	// ErrNoHistory says that the channel of a topic has no History.
	ErrNoHistory = errors.New("topic has no history")
	// ErrNoPresence says that the channel of a topic has no Presence.
	ErrNoPresence = errors.New("topic has no presence")
)

// Errors of drafts.
var (
	// ErrDraftOver says that a draft takes no more text: it was stopped, or what wrote
	// it has returned.
	ErrDraftOver = errors.New("draft is over")
	// ErrDraftFull says that there is no room: for more text of a draft, or for one more
	// draft; a client may read it, since it may be the one that began the others.
	ErrDraftFull = Refuse("no room for more of drafts")
	// ErrNoDraft says that a topic has no such draft, or none any more: who stops it may be a
	// moment late, so a client may read it.
	ErrNoDraft = Refuse("no such draft")
)

// Reason says why a client left a topic.
type Reason = transport.Reason

// The reasons that HandleLeave gets: those of one topic, and those for which the
// client socket ended, with all its topics.
const (
	Left     Reason = "left"     // the client left the topic, or Socket.Leave
	Replaced Reason = "replaced" // it joined the topic again
	Panicked Reason = "panicked" // a handler of this client and topic panicked, or called runtime.Goexit
	Unread   Reason = "unread"   // the history could not be read, and the client misses a part of it or comes back for it; the log has the error

	Closed   = transport.Closed   // the client closed its connection, said goodbye, or sent what closes one (1002, 1007, 1009)
	Vanished = transport.Vanished // the connection broke or fell silent, and the client did not resume in time, or can't; a receive-only stream has come to its age
	Slow     = transport.Slow     // its queue or inbox was full, a write was stuck and it can't resume, or the history no longer had what it was to be sent
	Kicked   = transport.Kicked   // Disconnect
	Expired  = transport.Expired  // Identity.Expires has come
	Drained  = transport.Drained  // Shutdown
)
