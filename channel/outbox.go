package channel

import (
	"context"
	"sync"

	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

const (
	// What is retained waits in a list of this size at most: more is read from the
	// history.
	maxOutbox      = 100
	maxOutboxBytes = 256 << 10
	// What is not retained can't be read again. In bytes it is bounded as a queue of a
	// client that does not read, and counts as one.
	maxOutboxEphemeral = 512
)

// outbox stands between a topic and the queue of a client, where the channel has an
// Outgoing. The application's function is called by a goroutine of the outbox, which runs
// only while there is something, and holds no lock. What comes keeps its order. An outbox
// knows no history: when it is full, its member is behind.
type outbox struct {
	socket *Socket
	asking chan struct{} // full while the function may be called

	mu       sync.Mutex // guards what follows, and the order of what goes to the client; taken with a topic's lock held
	list     []outgoingItem
	bytes    int
	own      int // bytes that no other queue holds, for the budget
	running  bool
	passing  bool // something was taken out, which the function may be asked of
	named    bool // as one that has not returned, since its client has left
	closed   bool
	ready    func()       // waits for room
	withheld outgoingItem // the last retained message, if it was not sent
}

// outgoingItem is a message for one member.
type outgoingItem struct {
	m      *wire.Message
	to     string
	offers bool // it can wait for room in the client's queue
}

// item is what the outbox holds of it, as a queue does.
func (it outgoingItem) item() queue.Item { return queue.Item{M: it.m, To: it.to} }

func newOutbox(s *Socket) *outbox { return &outbox{socket: s, asking: make(chan struct{}, 1)} }

// claim waits until the function is asked of nothing else for this client. Release has to
// follow, unless there is an error, which is that of ctx. A nil outbox asks nobody.
func (o *outbox) claim(ctx context.Context) error {
	if o == nil {
		return nil
	}
	select {
	case o.asking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (o *outbox) release() {
	if o != nil {
		<-o.asking
	}
}

// ID implements fanout.Queue.
func (o *outbox) ID() string { return o.socket.ID() }

// Send implements fanout.Queue.
func (o *outbox) Send(m *wire.Message, to string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return transport.ErrClosed
	case !o.fits(m):
		o.discard()
		o.socket.hub().tasks.Go(func() { o.socket.failEarly(Slow, overloaded) }) // without the topic's lock
		return transport.ErrSlow
	}
	o.add(outgoingItem{m, to, false})
	return nil
}

// fits reports whether there is room for what is not retained. One message always fits
// where none waits. o.mu is held.
func (o *outbox) fits(m *wire.Message) bool {
	h := o.socket.hub()
	return len(o.list) == 0 || len(o.list) < maxOutboxEphemeral && o.bytes+m.Size() <= h.queues.Share(h.limits.QueueBytes)
}

// Offer implements fanout.Queue.
func (o *outbox) Offer(m *wire.Message, to string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return true
	case len(o.list) >= maxOutbox, o.bytes >= maxOutboxBytes:
		return false
	}
	o.add(outgoingItem{m, to, true})
	return true
}

// Ready implements fanout.Queue.
func (o *outbox) Ready(f func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.hasRoom() {
		return true
	}
	o.ready = f
	return false
}

// hasRoom reports whether a half is free. o.mu is held.
func (o *outbox) hasRoom() bool { return len(o.list) < maxOutbox/2 && o.bytes < maxOutboxBytes/2 }

// add puts it behind the others. o.mu is held.
func (o *outbox) add(it outgoingItem) {
	o.list = append(o.list, it)
	o.bytes += it.m.Size()
	o.own = o.socket.hub().queues.Hold(it.item(), o.own)
	if !o.running {
		o.running = true
		o.socket.hub().tasks.Go(o.run)
	}
}

// close ends it: the client has left. Nothing is sent after that. Nil is none.
func (o *outbox) close() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.discard()
}

// discard drops what waits, and takes no more. A function that has not returned by then is
// one that a shutdown may have to name: to note each call, as of handlers, would cost each
// member a lock of the hub for each broadcast. o.mu is held.
func (o *outbox) discard() {
	if o.passing && !o.closed {
		o.named = true
		o.socket.hub().running.began(o, o.socket.Topic(), call{handler: "Outgoing"})
	}
	for _, it := range o.list {
		o.own = o.socket.hub().queues.Release(it.item(), o.own)
	}
	o.closed, o.list, o.bytes, o.ready, o.withheld = true, nil, 0, nil, outgoingItem{}
}

// run passes on what there is, until nothing is left.
func (o *outbox) run() {
	done := false
	defer func() {
		if !done { // runtime.Goexit in the application's function
			o.socket.hub().tasks.Go(o.run)
		}
	}()
	for {
		it, room, ok := o.next()
		if !ok {
			done = true
			return
		}
		if room != nil {
			room()
		}
		o.pass(it)
	}
}

// next takes out what is first, which the outbox goes on holding until passed. It returns
// who waits for room, if there is room then. When there is nothing else, a position tells of
// what was withheld last.
func (o *outbox) next() (it outgoingItem, room func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case len(o.list) > 0:
		it, o.list[0] = o.list[0], outgoingItem{}
		o.list = o.list[1:]
		o.bytes -= it.m.Size()
		o.passing = true
	case o.withheld.m != nil && !o.closed:
		it, o.withheld = o.withheld, outgoingItem{}
		it.m = wire.NewPosition(it.m.Topic, it.m.Offset)
		o.own = o.socket.hub().queues.Hold(it.item(), o.own)
	default:
		o.running, o.list = false, nil
		return it, nil, false
	}
	if o.ready != nil && o.hasRoom() {
		room, o.ready = o.ready, nil
	}
	return it, room, true
}

// pass sends a message as its client is to have it.
func (o *outbox) pass(it outgoingItem) {
	failed := true
	defer func() {
		o.passed(it)
		if failed {
			o.crash()
		}
	}()
	m, ok := o.ask(it.m)
	failed = !ok
	switch {
	case !ok:
	case m != nil:
		o.forward(outgoingItem{m, it.to, it.offers})
	case it.m.Offset > 0:
		o.withhold(it)
	}
}

// passed ends what add began: the outbox does not hold it any more.
func (o *outbox) passed(it outgoingItem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.named {
		o.socket.hub().running.returned(o)
	}
	o.passing, o.named = false, false
	o.own = o.socket.hub().queues.Release(it.item(), o.own)
}

// withhold takes note of a retained message that is not sent.
func (o *outbox) withhold(it outgoingItem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.withheld = it
	}
}

// ask asks the function, if it is for such an event, when no page asks it. Of a client
// that has left it asks nothing.
func (o *outbox) ask(m *wire.Message) (out *wire.Message, ok bool) {
	_ = o.claim(context.Background())
	defer o.release()
	o.mu.Lock()
	closed := o.closed
	o.mu.Unlock()
	if closed {
		return nil, true
	}
	return o.socket.rewritten(m)
}

// crash ends the join after the application's function has failed. No lock is held.
func (o *outbox) crash() {
	o.close()
	o.socket.failEarly(Panicked, channelCrash)
}

// forward queues a message for the client, and waits for room if it can.
func (o *outbox) forward(it outgoingItem) {
	pager := &o.socket.client().pager
	for done := o.put(it); !done; { // what the client's other topics are sent may come first, each time
		if pager.Claim(o.socket.context()) != nil {
			return
		}
		done = o.put(it)
		pager.Release()
	}
}

// put queues a message for the client, and reports whether there was room.
func (o *outbox) put(it outgoingItem) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	cs := o.socket.client().cs
	switch {
	case o.closed:
	case !it.offers:
		_ = cs.Send(it.m, it.to) // a client that has ended hears of it elsewhere
	case !cs.Offer(it.m, it.to):
		return false
	case it.m.Offset > 0:
		o.withheld = outgoingItem{}
	}
	return true
}
