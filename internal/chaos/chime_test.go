package chaos

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/go-chime/chime/transport"
)

// resumer is a client of the chime dialect, by the letter of docs/protocol.md. It
// changes its connection, and its transport, when it likes and when it must, and
// nothing of its joins ends with that.
type resumer struct {
	peer
	kinds []string // the transports that it moves between

	// All of it is guarded by mu.
	line       *connection // the one that was promoted last; nil once it has ended
	kind       string      // the transport of that, also when it has ended
	id, secret string      // of the client socket; "" without one
	former     string      // the last secret that there was
	parted     []string    // secrets of client sockets that are taken to be gone
	attaching  bool        // an attempt is under way
	numbers    map[string]uint64
	queue      []string      // counted frames that the server may not have
	forgotten  uint64        // how many there were before them
	known      uint64        // how many the server has, as far as it has said
	next       uint64        // on a WebSocket: the number of the next that it carries
	received   uint64        // counted frames of the server
	acked      uint64        // what it has acknowledged of these
	often      uint64        // it does so after so many
	word       bool          // on a stream: the POST that promotes it is due
	promoted   chan struct{} // closed by the next promotion: a POST with the secret from before is given up
	moves      int           // connections that it changed while the former one worked
	resumes    int
	hellos     map[string]int // by transport
}

// ways are where the frames of a client go that does not send them on a WebSocket.
var ways = map[string]string{transport.SSE: "/socket/sse", transport.LongPoll: "/socket/poll"}

func (c *resumer) live() {
	c.often, c.promoted, c.hellos = uint64(1+c.dice.n(64)), make(chan struct{}), map[string]int{}
	c.working.Go(c.post)
	for {
		err := c.attach()
		c.mu.Lock()
		for err == nil && c.line != nil && !c.isStopped() {
			c.changed.Wait()
		}
		c.mu.Unlock()
		if !c.rest() {
			return
		}
	}
}

// attach opens a connection, promotes it, and reads it beside all else. There is one
// attempt at a time.
func (c *resumer) attach() error {
	c.mu.Lock()
	if c.attaching || c.isStopped() {
		c.mu.Unlock()
		return errors.New("another attempt is under way")
	}
	kinds := c.kinds
	if c.line != nil && c.kind == transport.LongPoll { // which has one poll under way at a time
		kinds = slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool { return kind == transport.LongPoll })
	}
	if len(kinds) == 0 {
		c.mu.Unlock()
		return errors.New("it polls")
	}
	c.attaching = true
	secret, received := c.secret, c.received
	kind := kinds[c.dice.n(len(kinds))]
	c.mu.Unlock()
	conn, hello, err := c.open(kind, secret, received)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attaching = false
	defer func() { c.note(c.known) }()
	defer c.changed.Broadcast()
	if err == nil && (c.secret != secret || c.isStopped()) {
		conn.drop()
		err = errors.New("too late")
	} else if err == nil {
		c.promote(kind, conn, hello, secret != "", received)
		c.working.Go(func() { c.read(conn) })
		return nil
	}
	if refused, ok := errors.AsType[*refusedError](err); ok && (refused.status == http.StatusForbidden || refused.status == http.StatusGone) && c.secret == secret {
		c.secret = ""
	}
	c.stage.ended(&c.peer, err)
	return err
}

// hello is the payload of one.
type hello struct {
	ID, Secret     string
	Resumed        bool
	Received, Sent uint64
}

func (c *resumer) open(kind, secret string, received uint64) (*connection, hello, error) {
	var conn *connection
	var err error
	switch stream := kind == transport.SSE; {
	case kind == transport.LongPoll:
		conn, err = c.dialPolls(secret, received)
	case stream && secret != "":
		conn, err = c.dialStream("/socket/sse", "Chime-Received", strconv.FormatUint(received, 10), "Chime-Secret", secret)
	case stream:
		conn, err = c.dialStream("/socket/sse", "Chime-Received", "0")
	case secret != "":
		conn, err = c.dialSocket("/socket/websocket", "chime.v1", "chime.secret."+secret)
	default:
		conn, err = c.dialSocket("/socket/websocket", "chime.v1")
	}
	var h hello
	if err != nil {
		return nil, h, err
	}
	f, err := conn.readHello()
	if err == nil && f.event == "closed" { // in the moment in which it was opened
		err = errors.New("closed before the hello")
	}
	if err == nil && f.event != "hello" {
		c.stage.fault("%s: got %s %s first, want hello", c.name, f.topic, f.event)
	}
	if err == nil {
		err = json.Unmarshal(f.payload, &h)
	}
	if err != nil {
		conn.drop()
	}
	return conn, h, err
}

// promote makes a connection the one that carries counted frames. C.mu is held.
func (c *resumer) promote(kind string, conn *connection, h hello, showed bool, had uint64) {
	all := c.forgotten + uint64(len(c.queue))
	switch {
	case h.Resumed && (!showed || h.ID != c.id || h.Received < c.forgotten || h.Received > all || h.Sent < had):
		c.stage.fault("%s: hello %+v; it has sent %d, of which %d were known, and received %d", c.name, h, all, c.forgotten, had)
	case h.Resumed:
		if c.resumes++; c.line != nil {
			c.moves++
		}
	default:
		c.partFrom()
		c.begin()
	}
	former := c.line
	c.id, c.secret, c.former, c.line, c.kind, c.word = h.ID, h.Secret, h.Secret, conn, kind, h.Resumed
	c.hellos[kind]++
	if conn.polls != nil { // whose next poll promotes it, or a POST
		conn.polls.secret, conn.polls.received = h.Secret, c.received
		c.word = h.Resumed && c.dice.one(2)
	}
	if former != nil && c.dice.one(3) {
		former.cut() // or it is told that it was moved
	}
	close(c.promoted)
	c.promoted = make(chan struct{})
	c.known = max(c.known, h.Received)
	c.next = h.Received + 1
	if h.Resumed {
		c.ack()
	}
	c.pour()
}

// partFrom has nothing come any more by a client socket that is taken to be gone. C.mu is held.
func (c *resumer) partFrom() {
	if c.former != "" {
		c.parted = append(c.parted, c.former)
	}
	if c.line != nil {
		c.line.drop()
	}
}

// sayBye ends the client sockets that it has parted from. Without it some of them last until
// the server misses them, after 35 s.
func (c *resumer) sayBye() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range c.parted {
		c.working.Go(func() { _, _, _ = c.peer.post("/socket/bye", "", secret, nil) })
	}
	c.parted = nil
}

// begin begins a new client socket: what was sent and not answered is unknown. C.mu is
// held.
func (c *resumer) begin() {
	c.ended()
	c.forgotten, c.known, c.received, c.acked = 0, 0, 0, 0
	c.numbers = map[string]uint64{}
	c.queue = c.wanted()
}

// push queues a counted frame. C.mu is held.
func (c *resumer) push(ref, text string) {
	c.queue = append(c.queue, text)
	c.numbers[ref] = c.forgotten + uint64(len(c.queue))
	c.pour()
}

// pour writes what a WebSocket has not carried; on a stream the POSTs do. C.mu is held.
func (c *resumer) pour() {
	c.changed.Broadcast()
	if c.line == nil || c.line.ws == nil {
		return
	}
	for c.next = max(c.next, c.forgotten+1); c.next <= c.forgotten+uint64(len(c.queue)); c.next++ {
		if !c.line.write(c.queue[c.next-c.forgotten-1]) {
			return
		}
	}
}

// ack acknowledges what has come. C.mu is held.
func (c *resumer) ack() {
	if c.line == nil || c.line.ws == nil {
		c.changed.Broadcast()
		return
	}
	c.acked = c.received
	c.line.write(encode("", "", "chime", "ack", map[string]uint64{"received": c.received}))
}

// note forgets the frames that the server has, but not while an attempt is under way,
// whose hello may be older. C.mu is held.
func (c *resumer) note(n uint64) {
	c.known = max(c.known, n)
	if have := min(c.known-min(c.known, c.forgotten), uint64(len(c.queue))); !c.attaching {
		c.queue = c.queue[have:]
		c.forgotten += have
	}
}

// read takes what a connection delivers until it ends.
func (c *resumer) read(conn *connection) {
	defer conn.drop()
	for {
		f, err := conn.read()
		c.mu.Lock()
		if err != nil {
			c.lineEnded(conn, err)
			c.mu.Unlock()
			return
		}
		if c.line == conn {
			c.receive(f)
		}
		c.mu.Unlock()
	}
}

// lineEnded takes the end of a connection. C.mu is held.
func (c *resumer) lineEnded(conn *connection, err error) {
	c.stage.ended(&c.peer, err)
	if c.line != conn {
		return
	}
	c.line = nil
	if refused, ok := errors.AsType[*refusedError](err); ok && refused.status == http.StatusGone {
		c.secret = ""
	}
	switch end := endOf(err); end.code {
	case 1000, 1001, 1002, 1007, 1009, 1012, 1013, 4003:
		c.secret = ""
	case 4001: // or the promotion took too long
		if end.reason != "not used" {
			c.stage.fault("%s: its connection ended with %v, and it has promoted no other", c.name, end)
		}
	}
	c.changed.Broadcast()
}

// receive takes a frame of the present connection. C.mu is held.
func (c *resumer) receive(f frame) {
	if f.topic == "chime" {
		var beat struct{ Received uint64 }
		if f.event == "hello" { // it has not polled for long: another attempt resumes
			c.line.drop()
			c.line = nil
			c.changed.Broadcast()
			return
		}
		if f.event == "heartbeat" && json.Unmarshal(f.payload, &beat) == nil {
			c.note(beat.Received)
			c.ack()
		}
		return
	}
	c.received++
	if f.id != "" && f.id != strconv.FormatUint(c.received, 10) {
		c.stage.fault("%s: got frame number %s, want %d", c.name, f.id, c.received)
	}
	c.take(f)
	if n, ok := c.numbers[f.ref]; ok {
		c.note(n)
		delete(c.numbers, f.ref)
	}
	if c.received >= c.acked+c.often {
		c.ack()
	}
}

func (c *resumer) act() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joinAgain()
	switch c.dice.n(12) {
	case 0:
		if c.line != nil {
			c.line.cut()
		}
	case 1:
		if !c.attaching && c.line != nil && c.secret != "" {
			c.working.Go(func() { _ = c.attach() })
		}
	case 2, 3:
		if c.secret != "" {
			c.send(c.roam())
		}
	default:
		if c.secret != "" { // with a connection, or without
			c.send(c.say())
		}
	}
}

// send sends a frame that has just been made. C.mu is held.
func (c *resumer) send(text string) {
	if text != "" {
		c.push(strconv.Itoa(c.ref), text)
	}
}

// joinAgain joins what it wants to be in, and was refused. C.mu is held.
func (c *resumer) joinAgain() {
	if c.secret != "" {
		c.again(c.send)
	}
}

func (c *resumer) isDone() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joinAgain()
	if c.line == nil || c.attaching {
		return errors.New("has no connection")
	}
	return c.missing()
}

func (c *resumer) leave() {
	c.mu.Lock()
	close(c.stopped)
	c.changed.Broadcast()
	line, secret, posts := c.line, c.secret, ways[c.kind] != ""
	c.mu.Unlock()
	if posts {
		_, _, _ = c.peer.post("/socket/bye", "", secret, nil)
	}
	if line != nil && line.ws != nil {
		_ = line.ws.Close(1000, "")
	}
	if line != nil && line.polls != nil {
		line.drop() // nobody waits for it
	}
	c.working.Wait()
}
