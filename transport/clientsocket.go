// Package transport carries frames between one client and the server, over a
// WebSocket or over an event stream with POSTs, and hides which of them behind
// a [ClientSocket]. It knows nothing of topics, channels or history.
//
// A [Server] answers the HTTP requests of all clients. It checks origin and
// identity, opens a client socket, and hands each decoded frame to the
// [Receiver] that its [Acceptor] gave for that client.
//
// A client socket outlives its connections: a client of the chime dialect whose
// connection has broken goes on with another within [Config].Grace, on any
// transport, and its Receiver notices nothing.
//
// What is promised: frames of one client arrive in the order it sent them, each
// once; what was queued goes out in order, several in one write; a client that
// does not read delays nobody and has left once its queue is full.
package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-chime/chime/internal/wire"
)

// Names of the transports, as ClientSocket.Transport gives them.
const (
	WebSocket = "websocket"
	SSE       = "sse"
)

// ClientSocket is one client, from its first connection until it has left. All
// methods are safe for concurrent use and none blocks.
type ClientSocket interface {
	// ID is the public name of this client socket: unguessable, but no secret.
	ID() string
	// Identity is who WithConnect said it is, pinned when the socket opened but
	// for Expires, which is what it said last.
	Identity() Identity
	// Transport is the transport of the present connection, or of the last.
	Transport() string
	// Context has the values of the request that opened the socket. It is
	// never cancelled: who needs an end derives one.
	Context() context.Context
	// Send queues m; while there is no connection it waits for the next. To is
	// the join_ref of a join that asked for positions, or "". It returns ErrClosed
	// after the end, and ErrSlow when m does not fit into the queue any more,
	// which ends the socket and drops what is queued.
	Send(m *wire.Message, to string) error
	// Offer is Send for what is in a history, from which it can be sent later: it
	// fills the queue to a half only, and where m does not fit it returns false and
	// nothing ends. When Ready reports room one message fits, whatever its size.
	// After the end it returns true, since nothing is to be sent later.
	Offer(m *wire.Message, to string) bool
	// Ready reports whether the queue has room for a page of a replay. If it
	// has not, f is called once it has, or at the end; f must not block.
	Ready(f func()) bool
	// Close ends the socket: what is queued goes out first, then the code and
	// the reason, if there is a connection. The receiver is told why. Only the
	// first call counts.
	Close(code wire.CloseCode, reason string, why Reason)
}

// Receiver is the channel side of one client socket.
type Receiver interface {
	// Receive takes a frame. Calls come one at a time and must not block.
	Receive(f wire.Frame)
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

// Identity is who a client is. ID and Value are pinned when the client socket
// opens.
type Identity struct {
	ID      string    // names the user: Disconnect takes it; "" is anonymous
	Value   any       // whatever the application wants to find in its channels
	Expires time.Time // when the client socket ends, as WithConnect has said last; zero is never. An earlier time than before may be seen a heartbeat late
}

// Reason says why a client socket ended.
type Reason string

// The reasons that Receiver.Closed gets.
const (
	Closed  Reason = "closed"  // the client closed its connection, said goodbye, or sent what ends one (1002, 1007, 1009)
	Gone    Reason = "gone"    // the connection broke or fell silent, and who could come back did not in time
	Slow    Reason = "slow"    // its queue was full, or a write to one that can't come back stuck
	Kicked  Reason = "kicked"  // Disconnect
	Expired Reason = "expired" // Identity.Expires has come
	Drained Reason = "drain"   // Shutdown
)

// Limits bound what one client may make the server hold. Zero means the
// default in each field. An inbox is what one client has sent in one topic and
// its handler has not taken yet.
type Limits struct {
	MessageBytes  int // of one frame from a client; 64 KiB
	BatchBytes    int // of the body of one POST; 256 KiB, or what one frame takes if that is more
	BatchMessages int // frames in one POST; 100
	QueueBytes    int // waiting to be written to one client, and again in each inbox; 1 MiB
	QueueMessages int // waiting to be written to one client; 4096
	Topics        int // joined by one client at once; 100
	InboxMessages int // waiting in one inbox; 512

	// Of a client that may resume: written to it and not acknowledged. What is
	// over that is forgotten, the oldest first, and a client that has missed it
	// can't resume. Bytes are those of payloads and names; with what is made of
	// them they take up to three times as much.
	UnackedBytes    int // 256 KiB
	UnackedMessages int // 1024
}

// batchEnvelope is what the body of a POST takes besides its frames.
const batchEnvelope = 128

type limit struct {
	name  string
	field *int
	def   int
}

// limitsOf lists the fields of l. It is no method: those of Limits take values.
func limitsOf(l *Limits) []limit {
	return []limit{
		{"MessageBytes", &l.MessageBytes, 64 << 10},
		{"BatchBytes", &l.BatchBytes, 256 << 10},
		{"BatchMessages", &l.BatchMessages, 100},
		{"QueueBytes", &l.QueueBytes, 1 << 20},
		{"QueueMessages", &l.QueueMessages, 4096},
		{"Topics", &l.Topics, 100},
		{"InboxMessages", &l.InboxMessages, 512},
		{"UnackedBytes", &l.UnackedBytes, 256 << 10},
		{"UnackedMessages", &l.UnackedMessages, 1024},
	}
}

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	batch := l.BatchBytes
	for _, f := range limitsOf(&l) {
		if *f.field == 0 {
			*f.field = f.def
		}
	}
	if batch == 0 {
		l.BatchBytes = max(l.BatchBytes, l.MessageBytes+batchEnvelope)
	}
	return l
}

// Check returns an error that names a limit which can't be meant: a negative
// one, or one of a POST under which a frame could come on a WebSocket only.
func (l Limits) Check() error {
	for _, f := range limitsOf(&l) {
		if *f.field < 0 {
			return fmt.Errorf("limit %s is %d: want more, or 0 for the default", f.name, *f.field)
		}
	}
	l = l.WithDefaults()
	if least := l.MessageBytes + batchEnvelope; l.BatchBytes < least {
		return fmt.Errorf("limit BatchBytes is %d: want %d at the least, for a frame of MessageBytes and what is around it", l.BatchBytes, least)
	}
	return nil
}
