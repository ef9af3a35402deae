package clientsocket

import (
	"time"

	"github.com/go-chime/chime/internal/nonblock"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
)

// Line is a connection as its client socket sees it: how messages look on it,
// and how it ends. One that is a [Link] is written to when there is something to
// write; any other when its client polls.
type Line interface {
	Encoder
	// Transport is the transport.
	Transport() stats.Transport
	// BoundWrites makes a write that blocks, and all later ones, fail after a
	// time. The first bound counts.
	BoundWrites(wait time.Duration)
	// Close closes the connection when the farewell is out: the client may read
	// what is still on its way. Abort closes it at once. Neither blocks.
	Close()
	Abort()
}

// Encoder puts messages in the form of a connection. Its methods are called
// under the client socket's lock, and call nothing of it.
type Encoder interface {
	// Encode appends one message; number is 0 if it is not counted. It reports
	// true if the client socket ends in place of the message.
	Encode(b []byte, it queue.Item, number uint64) (_ []byte, ends bool)
	// Farewell appends what says why the connection is closed, and whether the client
	// socket has ended with it.
	Farewell(b []byte, code wire.CloseCode, reason string, ended bool) []byte
	// Open begins a write at the end of b, Seal ends it; nothing follows the last.
	Open(b []byte) []byte
	Seal(b []byte, last bool) []byte
}

// Link gets bytes out. One goroutine at a time writes.
type Link interface {
	// Try writes what goes without waiting. The error is nonblock.ErrNoSocket where
	// nothing does.
	Try(w *nonblock.Writer, b []byte) (int, error)
	// Write writes all of b, or fails after a time.
	Write(b []byte) error
}
