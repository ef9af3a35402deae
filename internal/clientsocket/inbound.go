package clientsocket

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

var (
	// ErrUnknown is one answer for a secret that is wrong, unknown or expired: a
	// guess learns nothing.
	ErrUnknown = errors.New("no such client socket")
	// ErrBeyond says that a client has miscounted, and would on every connection.
	ErrBeyond = errors.New("more frames are acknowledged than were sent")

	// ErrFinishing refuses frames of a client that is being drained: they are for wherever
	// it comes next.
	ErrFinishing = errors.New("shutting down")

	errGoodbye = errors.New("the client has left")
)

// GapError refuses a batch that leaves out frames.
type GapError struct{ Want uint64 }

func (e *GapError) Error() string { return fmt.Sprintf("frames are missing: want number %d", e.Want) }

// inbound hands the frames of a client to its receiver, one at a time, each
// counted one once, whatever connections they come on. It does not know how they
// came, nor what is sent.
type inbound struct {
	c        *ClientSocket
	received atomic.Uint64 // counted frames taken; changes under mu

	mu       sync.Mutex         // guards what follows and Connection.number, orders the calls of the receiver, and comes before ClientSocket.mu
	receiver transport.Receiver // nil once it knows of the end
	spent    spent

	finishing bool // no more counted frames are taken
}

// receive takes a frame of connection n, of whose bytes so many are not paid for, where
// the numbers go on from what the client was told in its hello.
func (in *inbound) receive(n *Connection, f wire.Frame, size int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.c
	if in.receiver == nil {
		return
	}
	counted := wire.Counted(f.Topic)
	if c.chime && f.Topic == wire.TopicChime {
		if !in.spend(&f, size) {
			return
		}
		switch err := in.control(n, f); {
		case err == nil:
		case errors.Is(err, errGoodbye):
			c.Bye()
		case errors.Is(err, ErrBeyond):
			c.Close(wire.CloseUndecodable, err.Error(), transport.Closed)
		default:
			n.Close(wire.CloseUndecodable, err.Error())
		}
		return
	}
	if !n.carries() {
		if counted && n.due.Load() != 0 {
			n.Close(wire.CloseUndecodable, "the first frame after resumed:true is an ack")
		}
		return
	}
	if counted && in.finishing { // as if it had come after the end
		in.waste(1, size)
		return
	}
	if c.chime && counted {
		n.number++
		if !in.count(n.number) {
			in.waste(1, size)
			return
		}
	}
	if in.spend(&f, size) {
		in.deliver(f)
	}
}

// count takes note of the number of a counted frame, and reports whether it is a new one.
func (in *inbound) count(number uint64) bool {
	if number <= in.received.Load() {
		return false
	}
	in.received.Store(number)
	return true
}

// deliver hands one frame on, or answers it if it concerns the connection. mu is
// held.
func (in *inbound) deliver(f wire.Frame) {
	in.c.clients.config.Stats.FramesIn.Add(1)
	if f.Topic != wire.TopicPhoenix {
		in.receiver.Receive(f)
		return
	}
	joinRef, status, response := wire.Ref{}, "error", `{"reason":"unmatched topic"}`
	switch f.Event {
	case wire.EventHeartbeat:
		status, response = "ok", "{}"
	case wire.EventLeave: // as of any topic that it has not joined
		joinRef, status, response = f.JoinRef, "ok", "{}"
	}
	_ = in.c.Send(wire.NewReply(joinRef, f.Ref, f.Topic, status, []byte(response)), "")
}

// control takes a frame of the topic chime that came for connection n, which is
// nil if it is broken. mu is held.
func (in *inbound) control(n *Connection, f wire.Frame) error {
	c := in.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Event {
	case wire.EventAck:
		received, err := wire.AckedBy(f.Payload)
		if err != nil {
			return err
		}
		if n == nil || n == c.out.carrier {
			return c.out.acknowledge(received)
		}
		if i := c.out.credentials.of(n); i >= 0 && !n.out.closing { // any other is no candidate
			return c.out.promote(i, received)
		}
	case wire.EventProbe:
		nonce, err := wire.ProbedWith(f.Payload)
		if err != nil {
			return err
		}
		if n != nil {
			n.sendControl(wire.NewProbeOK(nonce))
		}
	case wire.EventGoodbye:
		if n == nil || n == c.out.carrier || c.out.credentials.of(n) >= 0 { // any other has been given up
			return errGoodbye
		}
	}
	return nil // what a later version may say is only a sign of life
}

// Batched is the answer to a batch.
type Batched struct {
	Applied uint64 `json:"applied"`
	Sent    uint64 `json:"sent"`
}

// Apply hands on the frames of a POST that are new, as a whole or not at all. Of
// two batches at once the second finds the first one's frames applied and skips
// them. Decode returns the batch; one is decoded at a time. Its bytes are paid for, its
// frames are not; without a new one it counts as a frame. The error is that of decode,
// ErrUnknown, ErrBeyond, ErrFinishing or a *GapError.
func (c *ClientSocket) Apply(secret string, decode func() (wire.Batch, error)) (Batched, error) {
	return c.in.apply(secret, decode)
}

func (in *inbound) apply(secret string, decode func() (wire.Batch, error)) (Batched, error) {
	c := in.c
	in.mu.Lock()
	defer in.mu.Unlock()
	batch, err := decode()
	if err != nil {
		in.waste(c.clients.rates.malformed, 0)
		return Batched{}, err
	}
	paid := false
	defer func() {
		if !paid {
			in.waste(1, 0)
		}
	}()
	spend := func(f *wire.Frame) bool {
		paid = true
		return in.spend(f, 0)
	}
	c.mu.Lock()
	n, err := c.out.use(secret, batch.Received)
	c.mu.Unlock()
	if err != nil {
		return Batched{}, err
	}
	if want := in.received.Load() + 1; batch.First > want {
		return Batched{}, &GapError{want}
	}
	if in.finishing && batch.Last() > in.received.Load() {
		return Batched{}, ErrFinishing
	}
	number := batch.First
frames:
	for _, f := range batch.Frames {
		switch {
		case f.Topic == wire.TopicChime:
			spend(&f)
			// The batch has been acknowledged as a whole.
			if err := in.control(n, f); errors.Is(err, errGoodbye) {
				c.Bye()
				break frames
			}
		case !wire.Counted(f.Topic):
			if spend(&f) {
				in.deliver(f)
			}
		default:
			if in.count(number) && spend(&f) {
				in.deliver(f)
			}
			number++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return Batched{in.received.Load(), c.out.queue.Sent()}, nil
}

// close tells the receiver of the end. The receiver may be the one who ends the
// client socket, from Receive: then it is told when it returns.
func (in *inbound) close(why transport.Reason) {
	tell := func() {
		defer in.mu.Unlock()
		in.receiver.Closed(why)
		in.receiver = nil
		in.c.clients.config.Tasks.Done()
	}
	if in.mu.TryLock() {
		tell()
		return
	}
	in.c.clients.config.Tasks.Go(func() {
		in.mu.Lock()
		tell()
	})
}
