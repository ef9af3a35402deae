package clientsocket

import (
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

const (
	// closeWait is how long what is written to a connection that is closed alone
	// may block.
	closeWait = time.Second
	// endWait is how long what is queued for a client may take after its end.
	endWait = 5 * time.Second
	// earlyWait is how long after its beginning a connection writes its early bytes.
	earlyWait = 75 * time.Millisecond
)

// Connection is one WebSocket or one stream, as far as they are the same. It
// carries the messages of its client socket if the client has promoted it; before
// and after that only what concerns itself. It never knows how a frame looks.
type Connection struct {
	c      *ClientSocket
	line   Line
	number uint64 // of the last counted frame read here, or that the client had been told of; guarded by inbound.mu
	out    outlet // guarded by ClientSocket.mu

	early mono.Instant // when the early bytes of Watch are due, by whom alone it is used; 0 once they are out

	due       atomic.Int64 // mono.Instant: when it is closed, not promoted or too old; 0 is never
	heard     atomic.Int64 // mono.Instant: the last sign of life of the client
	lastBeat  atomic.Int64 // mono.Instant: the last heartbeat
	lastWrite atomic.Int64 // mono.Instant
}

// Init makes n the connection of line, before Clients.Open or ClientSocket.Resume.
func (n *Connection) Init(line Line) {
	n.line, n.out.n = line, n
	if _, written := line.(Link); !written {
		n.out.polled = true
		n.out.rest()
	}
	n.early = mono.Now().Add(earlyWait)
	now := int64(mono.Now())
	n.heard.Store(now)
	n.lastBeat.Store(now)
	n.lastWrite.Store(now)
}

// EndAfter has the client socket that n carries end after a time, and its client
// asked to come back.
func (n *Connection) EndAfter(age time.Duration) { n.due.Store(int64(mono.Now().Add(age))) }

// Heard takes note of a sign of life of the client.
func (n *Connection) Heard() { n.heard.Store(int64(mono.Now())) }

// Line is what Init was given.
func (n *Connection) Line() Line { return n.line }

// Receive takes a frame of the client, of whose bytes so many have not been paid for.
func (n *Connection) Receive(f wire.Frame, size int) { n.c.in.receive(n, f, size) }

// ID is that of the client socket.
func (n *Connection) ID() string { return n.c.id }

// Close closes the connection, and ends the client socket if that is carried by
// it.
func (n *Connection) Close(code wire.CloseCode, reason string) {
	n.c.mu.Lock()
	ends := n.close(code, reason)
	n.c.mu.Unlock()
	if ends {
		n.c.reportEnd()
	}
}

// close is Close without reportEnd, which must follow, without c.mu, if it
// reports true. No other connection may be promoted between the look at the
// carrier and the end. c.mu is held.
func (n *Connection) close(code wire.CloseCode, reason string) (ends bool) {
	c := n.c
	switch {
	case c.out.carrier != n:
		n.closeAlone(code, reason)
		return false
	case c.ended:
		return false
	}
	c.end(code, reason, transport.Closed)
	return true
}

// closeAlone closes the connection, and not its client socket. c.mu is held.
func (n *Connection) closeAlone(code wire.CloseCode, reason string) {
	n.out.close(code, reason)
	unread := n.out.waits()
	n.c.clients.config.Tasks.Go(func() {
		if unread { // nor will it be: see Connection.unread
			n.Abort(transport.Vanished)
			return
		}
		n.line.BoundWrites(closeWait)
	})
}

// PeerClosed takes note of a close frame. One with any code may be of a box between the
// client and the server. So in the chime dialect, which says goodbye in a frame, the
// connection is broken; in the others the client has left.
func (n *Connection) PeerClosed(code wire.CloseCode) {
	c := n.c
	c.mu.Lock()
	n.out.answered = true
	ends := c.out.carrier == n && !c.ended
	switch {
	case c.out.carrier != n:
		n.closeAlone(code, "")
	case ends && c.out.resumable():
		n.closeAlone(code, "")
		c.out.detach()
		ends = false
	default:
		c.out.queue.Clear() // it reads no more
		why := transport.Closed
		if c.chime {
			why = transport.Vanished
		}
		c.end(code, "", why)
	}
	c.mu.Unlock()
	if ends {
		c.reportEnd()
	}
}

// Abort aborts the connection: nothing more can be written. The client socket,
// if it is carried by it, is detached or else ends with why.
func (n *Connection) Abort(why transport.Reason) {
	c := n.c
	c.mu.Lock()
	n.out.abort()
	ends := c.out.carrier == n
	switch {
	case !ends:
		c.out.credentials.broke(n)
	case !c.ended && c.out.resumable():
		c.out.detach()
		ends = false
	default:
		c.end(0, "", why)
		c.out.queue.Clear()
	}
	c.mu.Unlock()
	n.line.Abort()
	if ends {
		c.reportEnd()
	}
}

// Watch does what is due on the connection, and returns how long it is until
// something is again: mono.Never, if nothing is. It reports false when there was no
// sign of life for the time of silence: then the connection counts as broken. A ping
// is what is sent for a heartbeat where the dialect has none; early is sent once, a
// moment after the beginning. Zero is no heartbeat, and any silence.
func (n *Connection) Watch(heartbeat, silence time.Duration, ping, early []byte) (wait time.Duration, alive bool) {
	wait = mono.Never
	if silence > 0 {
		if wait = silence - since(&n.heard); wait <= 0 {
			return 0, false
		}
	}
	if heartbeat > 0 {
		wait = min(wait, n.beat(heartbeat, silence > 0, ping))
	}
	if early != nil && n.early != 0 {
		if left := n.early.Sub(mono.Now()); left > 0 {
			wait = min(wait, left)
		} else {
			n.early = 0
			n.SendBytes(early)
		}
	}
	if n.due.Load() != 0 {
		if left := n.dueIn(); left > 0 {
			wait = min(wait, left)
		} else {
			n.overdue()
		}
	}
	if left := n.c.expires.left(); left > 0 {
		wait = min(wait, left)
	} else if n.carries() {
		n.c.Close(wire.CloseDisconnect, "expired", transport.Expired)
	}
	return wait, true
}

func since(at *atomic.Int64) time.Duration { return mono.Now().Sub(mono.Instant(at.Load())) }

// beat sends a heartbeat if for so long nothing has been written, or nothing heard
// of a client that answers: one that is sent much need not keep a clock to be known
// as alive. A ping is sent whatever else is. beat returns when to look again.
func (n *Connection) beat(every time.Duration, answers bool, ping []byte) time.Duration {
	idle := since(&n.lastBeat)
	if ping == nil {
		quiet := since(&n.lastWrite)
		if answers {
			quiet = max(quiet, since(&n.heard))
		}
		idle = min(idle, quiet)
	}
	if idle < every {
		return every - idle
	}
	n.lastBeat.Store(int64(mono.Now()))
	c := n.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if ping != nil {
		n.out.add(ping)
	} else {
		n.sendControl(wire.NewHeartbeat(c.out.queue.Sent(), c.in.received.Load()))
	}
	return every
}

// overdue closes a candidate that was not promoted, and ends the client socket
// that n carries.
func (n *Connection) overdue() {
	c := n.c
	c.mu.Lock()
	switch {
	case n.due.Load() == 0: // it has been promoted in this moment
	case c.out.carrier != n:
		n.closeAlone(wire.CloseReplaced, "not used")
	case !c.ended:
		c.end(wire.CloseDrain, "too old", transport.Vanished)
		defer c.reportEnd()
	}
	c.mu.Unlock()
}

// dueIn is how long the connection has until it is closed.
func (n *Connection) dueIn() time.Duration { return mono.Instant(n.due.Load()).Sub(mono.Now()) }

// carries reports whether n carries its client socket, which has not ended.
func (n *Connection) carries() bool {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.out.carrier == n && !n.c.ended
}

// SendBytes sends what is encoded and belongs to the connection.
func (n *Connection) SendBytes(b []byte) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.out.add(b)
}

// sendControl sends a message that belongs to the connection. c.mu is held.
func (n *Connection) sendControl(m *wire.Message) { n.out.add(n.encode(m)) }

func (n *Connection) encode(m *wire.Message) []byte {
	b, _ := n.line.Encode(nil, queue.Item{M: m}, 0)
	return b
}

// Over reports whether the farewell is out, or nothing more can be written.
func (n *Connection) Over() bool {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.out.over
}
