package clientsocket

import (
	"iter"

	"github.com/go-chime/chime/internal/queue"
)

// outbound is what goes to the client, and where: the queue, the connection that
// takes from it, those that may come to, and the time without any. It writes
// nothing, reads nothing and never calls the receiver. ClientSocket.mu guards it.
type outbound struct {
	c           *ClientSocket
	queue       queue.Queue
	ready       func()      // waits for room; the last given to Ready
	carrier     *Connection // the one promoted last; nil while the client socket is detached
	wait        *Wait       // whom to tell when there is something to be polled; nil: nobody
	credentials credentials
	grace       *grace // nil before it is detached for the first time
}

// carry has n carry the client socket from now on; nil: it is detached.
func (o *outbound) carry(n *Connection) {
	switch counted := o.c.clients.config.Stats; {
	case o.c.ended, (o.carrier == nil) == (n == nil):
	case n == nil:
		counted.Detached(1)
	default:
		counted.Detached(-1)
	}
	o.carrier = n
}

// connections are all that the client socket has.
func (o *outbound) connections() iter.Seq[*Connection] {
	return func(yield func(*Connection) bool) {
		if o.carrier != nil && !yield(o.carrier) {
			return
		}
		for _, is := range o.credentials.issued {
			if is.conn != nil && !yield(is.conn) {
				return
			}
		}
	}
}

// What waits for a client beside live messages, as long as QueueBytes allows it.
const (
	pageRoom  = 256 << 10 // behind this much, a page of a replay
	offerRoom = 512 << 10 // up to this much, what can be sent later
)

// room returns how many bytes may wait. A client whose connection has not been written
// to yet since more waits is not judged: nobody knows how fast it reads.
func (o *outbound) room() int {
	clients := o.c.clients
	if o.carrier != nil && !o.carrier.out.blocked {
		return clients.budget.Left()
	}
	return clients.budget.Share(clients.config.Limits.QueueBytes)
}

// offers reports whether the queue takes what can be sent later. A queue with room
// for a page takes a message of any size, or whoever waits for room would wait in
// vain.
func (o *outbound) offers(it queue.Item) bool {
	return o.hasRoom() || o.queue.Fits(it, min(offerRoom, o.c.clients.config.Limits.QueueBytes/2))
}

// hasRoom reports whether the queue has room for a page of a replay.
func (o *outbound) hasRoom() bool {
	return o.queue.WaitingBytes() <= min(pageRoom, o.c.clients.config.Limits.QueueBytes/4)
}

// takeReady returns what Ready was given, once, when there is room or at the end.
func (o *outbound) takeReady() func() {
	if o.ready == nil || !o.c.ended && !o.hasRoom() {
		return nil
	}
	f := o.ready
	o.ready = nil
	return f
}

// acknowledge takes an acknowledgement by the connection that carries the client
// socket. It is a sign of life if it says that something arrives there: a client
// whose stream is dead may go on to POST.
func (o *outbound) acknowledge(received uint64) error {
	if !o.queue.Acknowledge(received) {
		return ErrBeyond
	}
	moved := int32(uint32(received) - o.c.acked)
	if moved > 0 {
		o.c.acked = uint32(received)
	}
	if o.carrier != nil && (moved > 0 || received == o.queue.Sent()) {
		o.carrier.Heard()
	}
	return nil
}
