// Package transport is what the channel side and an application know of the
// clients' connections: a [ClientSocket] for each client, who it is, what bounds
// it, and why it ended. It knows nothing of topics, channels or history.
//
// ClientSocket, Receiver and Acceptor are the seam between chime's server and its
// channel side. An application uses Identity, Limits, Reason and RefusedError. Only
// the server implements ClientSocket, and package channeltest for tests: what it
// sends are frames of an internal package, encoded once for all clients.
//
// A client socket outlives its connections: a client of the chime dialect whose
// connection has broken goes on with another within the grace period, on any
// transport, and its Receiver notices nothing.
//
// What is promised: frames of one client arrive in the order it sent them, each
// once; what was queued goes out in order, several in one write; a client that
// does not read delays nobody, and is ended once its queue is full.
package transport

import (
	"context"
	"errors"
	"time"

	"github.com/go-chime/chime/internal/wire"
)

// Names of the transports, as ClientSocket.Transport returns them.
const (
	WebSocket = "websocket"
	SSE       = "sse"
	LongPoll  = "longpoll"
)

// ClientSocket is one client, from its first connection until it has ended. All
// methods are safe for concurrent use and none blocks.
type ClientSocket interface {
	// ID is the public name of this client socket: unguessable, but no secret.
	ID() string
	// Identity is what WithConnect returned when the socket opened; Expires is what
	// it returned last.
	Identity() Identity
	// Transport is the transport of the present connection, or of the last.
	Transport() string
	// Context has the values of the request that opened the socket. It is never
	// cancelled.
	Context() context.Context
	// Send queues m; while there is no connection it waits for the next. To is
	// the join_ref of a join that asked for positions, or "". Send returns ErrClosed
	// after the end, and ErrSlow when m does not fit into the queue any more,
	// which ends the socket and drops what is queued.
	Send(m *wire.Message, to string) error
	// Offer is Send for a message that is in a history, from which it can be sent
	// later. It leaves room to what can't; where m does not fit it returns false, and
	// the socket does not end. When Ready reports room one message fits, whatever
	// its size. After the end it returns true: nothing is to be sent later.
	Offer(m *wire.Message, to string) bool
	// Ready reports whether the queue has room for a page of a replay; after the end
	// it has. If not, f is called once, when there is room or at the end. F must not
	// block, and replaces the f of an earlier call.
	Ready(f func()) bool
	// Close ends the socket. If there is a connection, what is queued goes out first,
	// then the code and the reason. Receiver.Closed is called with why. Only the first
	// call counts.
	Close(code wire.CloseCode, reason string, why Reason)
}

// Receiver is the channel side of one client socket.
type Receiver interface {
	// Receive takes a frame. Calls come one at a time and must not block.
	Receive(f wire.Frame)
	// Finish says that the client socket is to end, and can wait for what was received:
	// handlers that run have as long from now on as after an end, or within if that is less.
	// It returns nil if all has been answered, or else what is closed when it has, or at the
	// end. Of several calls the first says how long that is.
	Finish(within time.Duration) <-chan struct{}
	// Closed says that the client socket has ended, not its connection alone. It
	// is called once, after the last Receive, and must not block.
	Closed(why Reason)
}

// Acceptor makes the channel side of a new client socket, which it may send to,
// or close, at once. It must not block, and not panic.
type Acceptor func(ClientSocket) Receiver

// Errors of ClientSocket.Send.
var (
	ErrClosed = errors.New("client socket is closed")
	ErrSlow   = errors.New("client reads too slowly")
)

// Reason says why a client socket ended.
type Reason string

// The reasons that Receiver.Closed gets.
const (
	Closed   Reason = "closed"   // the client said goodbye, closed a connection that can't be resumed in its dialect, or sent what closes one (1002, 1007, 1008, 1009)
	Vanished Reason = "vanished" // the connection broke or fell silent, and the client did not resume in time, or can't; a receive-only stream has come to its age
	Slow     Reason = "slow"     // its queue was full, or a write was stuck and it can't resume
	Kicked   Reason = "kicked"   // Disconnect
	Expired  Reason = "expired"  // Identity.Expires has come
	Drained  Reason = "drain"    // Shutdown
)
