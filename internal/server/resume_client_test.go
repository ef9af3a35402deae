package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// resumer is a client of the chime dialect whose client socket outlives its
// connections, by the letter of docs/protocol.md. It opens a connection when
// attach is called, and does all else by itself. What the protocol forbids the
// server, it notes.
//
// Three rules of it are easily missed. While it attaches it forgets no frame: the
// number in the hello may be older than what it has been told elsewhere by
// then. A hello that answers a secret which it no longer uses is too late:
// another connection has been promoted meanwhile. And it does not begin more
// attempts beside one that is open than the server keeps secrets.
type resumer struct {
	hall     *hall
	flaw     flaw
	ackEvery uint64        // counted frames it takes without acknowledging
	posts    chan postFate // of its POSTs, one after the other; good ones afterwards
	working  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	stopped bool
	fault   error // the first

	id, secret string   // of the last hello that was not too late
	transport  string   // of the connection that was promoted last
	line       *carrier // that connection, nil once it has ended
	next       uint64   // on a WebSocket: the number of the next frame it carries
	word       bool     // on a stream: the word that promotes it is due
	posting    string   // the secret of the POST under way

	attaching int      // connections on their way to be promoted
	attempts  int      // of these, and of those that have failed beside them
	frames    []string // counted frames that it can't forget
	forgotten uint64   // how many there were before them
	known     uint64   // how many the server has, as far as it has said
	received  uint64   // counted frames of the server
	acked     uint64   // what it has acknowledged of these
	log       []string // they themselves
}

// postFate is what becomes of a POST between the client and the server.
type postFate struct {
	Fault  fault
	Copies int           // how often a proxy sends it again
	Apart  time.Duration // the time between them; without, all come at once
}

// A flaw is a way for a client to be wrong.
type flaw int

const (
	flawless          flaw = iota
	sendsTooMuch           // after a resume on a WebSocket, more than the hello asks for
	sendsTooLittle         // and less: nothing again
	forgetsTooEarly        // frames once they are written
	hearsTheFormer         // what a connection delivers that is no longer the one
	acksWhatItHasNot       // so much more than it has received
	forgetsWhatItHas       // it promotes with fewer frames than it has received
	beginsAnew             // its POSTs number from 1 on each stream
	keepsItsOldSecret      // and presents it for ever
	flaws
)

func newResumer(h *hall, ackEvery uint64, f flaw) *resumer {
	c := &resumer{hall: h, posts: make(chan postFate, 100), ackEvery: ackEvery, flaw: f}
	c.changed.L = &c.mu
	c.working.Go(c.post)
	return c
}

const maxAttempts = 8

// attach opens a connection, promotes it after a while, and reads it to its end.
func (c *resumer) attach(kind string, f fault, hold time.Duration) {
	c.mu.Lock()
	if c.attaching == 0 {
		c.attempts = 0
	}
	if c.attempts == maxAttempts {
		c.mu.Unlock()
		return
	}
	secret, received := c.secret, c.received
	c.attaching++
	c.attempts++
	c.mu.Unlock()
	cr, err := c.hall.open(knock{transport: kind, secret: secret, received: received, fault: f})
	if err == nil {
		time.Sleep(hold)
	}
	c.mu.Lock()
	c.attaching--
	promoted := err == nil && c.promote(cr, secret, received)
	c.note(c.known)
	c.changed.Broadcast()
	late := c.secret != secret
	c.mu.Unlock()
	if refused, ok := errors.AsType[*refusal](err); ok && !(late && refused.status == http.StatusGone) {
		c.wrong("attach: %w", refused)
	}
	if promoted {
		c.read(cr)
	}
	if cr != nil {
		_ = cr.plug.Close()
	}
}

// promote makes a connection the one that carries counted frames. It reports
// false if it came too late. c.mu is held.
func (c *resumer) promote(cr *carrier, with string, had uint64) bool {
	hello := &cr.hello
	all := c.forgotten + uint64(len(c.frames))
	switch {
	case cr.goesOn && !c.stopped && c.secret == with:
		c.line, c.transport = cr, cr.transport
		return true
	case c.stopped, c.secret != with && c.flaw != keepsItsOldSecret:
		return false
	case hello.Resumed != (with != ""):
		c.blame("hello has resumed %v, and the client socket should live", hello.Resumed)
		return false
	case hello.Resumed && hello.ID != c.id:
		c.blame("hello has another id")
		return false
	case hello.Received < c.forgotten || hello.Received > all:
		c.blame("hello has received %d of %d, and %d were known to be", hello.Received, all, c.forgotten)
		return false
	case hello.Sent < had:
		c.blame("hello has sent %d, and %d had come", hello.Sent, had)
		return false
	case hello.Secret == with:
		c.blame("hello has the secret that it was asked with")
		return false
	}
	if c.flaw != keepsItsOldSecret || with == "" {
		c.secret = hello.Secret
	}
	c.id, c.line, c.transport = hello.ID, cr, cr.transport
	c.known = max(c.known, hello.Received)
	if c.flaw == forgetsWhatItHas && hello.Resumed {
		c.received -= min(c.received, 1)
	}
	if cr.transport != transport.WebSocket {
		c.word = hello.Resumed && cr.es != nil // of polls the next one is
		if c.flaw == beginsAnew {
			c.known = 0
		}
		return true
	}
	c.next = hello.Received + 1
	switch c.flaw {
	case sendsTooMuch:
		c.next = c.forgotten + 1
	case sendsTooLittle:
		c.next = all + 1
	}
	if hello.Resumed {
		c.ack()
	}
	c.pour()
	return true
}

// push sends a counted frame. With a ref it is answered.
func (c *resumer) push(payload string, ref bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mark := "null"
	if ref {
		mark = fmt.Sprintf(`"%d"`, c.forgotten+uint64(len(c.frames))+1)
	}
	c.frames = append(c.frames, fmt.Sprintf(`["1",%s,"room:1","say",%s]`, mark, payload))
	c.pour()
	c.changed.Broadcast()
}

// beat sends a frame that is not counted.
func (c *resumer) beat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line != nil && c.line.ws != nil {
		_ = c.line.ws.write(fin|opText, `[null,"b","phoenix","heartbeat",{}]`)
	}
}

// pour writes what a WebSocket has not carried yet. c.mu is held.
func (c *resumer) pour() {
	if c.line == nil || c.line.ws == nil {
		return
	}
	// After a write that failed nothing is written any more, and frames that
	// were not may be known from elsewhere.
	for c.next = max(c.next, c.forgotten+1); c.next <= c.forgotten+uint64(len(c.frames)); c.next++ {
		if err := c.line.ws.write(fin|opText, c.frames[c.next-c.forgotten-1]); err != nil {
			return // who reads it will find out
		}
	}
	if c.flaw == forgetsTooEarly {
		c.note(c.next - 1)
	}
}

// ack acknowledges what has come. On a stream the next POST does. c.mu is held.
func (c *resumer) ack() {
	if c.line == nil || c.line.ws == nil {
		c.changed.Broadcast()
		return
	}
	c.acked = c.received
	n := c.received
	if c.flaw == acksWhatItHasNot && n > 0 {
		n += 2
	}
	_ = c.line.ws.write(fin|opText, ack(n))
}

// note forgets the frames that the server is known to have. c.mu is held.
func (c *resumer) note(n uint64) {
	c.known = max(c.known, n)
	if n := min(c.known-min(c.known, c.forgotten), uint64(len(c.frames))); c.attaching == 0 {
		c.frames = c.frames[n:]
		c.forgotten += n
	}
}

// read takes what a connection delivers until it ends.
func (c *resumer) read(cr *carrier) {
	for {
		c.mu.Lock()
		if cr.polls != nil {
			if c.line != cr {
				c.mu.Unlock()
				return // another one polls
			}
			cr.polls.received = c.received
		}
		c.mu.Unlock()
		number, text, err := cr.read()
		if err == nil && text == "" {
			continue // see whether another one polls
		}
		c.mu.Lock()
		if err != nil {
			if end, ok := errors.AsType[*End](err); ok {
				c.ended(end)
				if cr.ws != nil {
					_ = cr.ws.write(fin|opClose, "")
				}
			}
			if c.line == cr {
				c.line = nil
			}
			c.changed.Broadcast()
			c.mu.Unlock()
			return
		}
		if c.line == cr || c.flaw == hearsTheFormer {
			c.take(cr, number, text)
		}
		c.mu.Unlock()
	}
}

// ended looks at why the server ended a connection. c.mu is held.
func (c *resumer) ended(end *End) {
	if !c.stopped && end.Code != int(wire.CloseReplaced) {
		c.blame("connection %w", end)
	}
}

// take takes one frame. c.mu is held.
func (c *resumer) take(cr *carrier, number uint64, text string) {
	var f struct{ joinRef, ref, topic, event, payload json.RawMessage }
	if err := json.Unmarshal([]byte(text), &[]any{&f.joinRef, &f.ref, &f.topic, &f.event, &f.payload}); err != nil {
		c.blame("frame %s: %w", text, err)
		return
	}
	switch string(f.topic) {
	case `"phoenix"`:
	case `"chime"`:
		var beat struct{ Sent, Received uint64 }
		if string(f.event) != `"heartbeat"` || json.Unmarshal(f.payload, &beat) != nil {
			return
		}
		// The first reply may have come before those of the former connection.
		if cr.polls == nil && beat.Sent < c.received || beat.Received > c.forgotten+uint64(len(c.frames)) {
			c.blame("heartbeat %s, and %d had come and %d gone", f.payload, c.received, c.forgotten+uint64(len(c.frames)))
		}
		c.note(beat.Received)
		c.ack()
	default:
		if cr.polls != nil {
			if number <= c.received && c.flaw == flawless {
				return // it came on another connection while this poll was under way
			}
			c.acked = max(c.acked, number-1)
		}
		if cr.ws == nil && number != c.received+1 && c.flaw == flawless {
			c.blame("frame number %d, want %d", number, c.received+1)
		}
		c.received++
		c.log = append(c.log, text)
		if ref, err := strconv.ParseUint(strings.Trim(string(f.ref), `"`), 10, 64); err == nil {
			c.note(ref)
		}
		if c.received >= c.acked+c.ackEvery {
			c.ack()
		}
	}
}

// post is the loop that sends POSTs, while the last connection is a stream,
// be it broken or not.
func (c *resumer) post() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		all := c.forgotten + uint64(len(c.frames))
		due := c.word || c.known < all || c.received >= c.acked+c.ackEvery
		switch {
		case c.stopped, c.fault != nil:
			return
		case c.transport == transport.WebSocket, c.transport == "", !due, c.posting == c.secret:
			c.changed.Wait()
			continue
		}
		secret, received := c.secret, c.received
		c.posting = secret
		first := min(max(c.known, c.forgotten), all) + 1
		if c.flaw == beginsAnew {
			first = 1 + c.known
		}
		const most = 20
		frames := c.frames[min(first-1-min(first-1, c.forgotten), uint64(len(c.frames))):]
		body := batch(first, received, frames[:min(len(frames), most)]...)
		if c.flaw == acksWhatItHasNot && received > 0 {
			body = batch(first, received+2, frames[:min(len(frames), most)]...)
		}
		c.working.Go(func() { c.deliver(secret, body, received) })
	}
}

// deliver sends one POST through whatever its fate is.
func (c *resumer) deliver(secret, body string, received uint64) {
	var fate postFate
	select {
	case fate = <-c.posts:
	default:
	}
	for i := range fate.Copies {
		c.working.Go(func() {
			time.Sleep(time.Duration(i+1) * fate.Apart)
			_, _, _ = c.hall.post("/sse", secret, "", body, fault{}) // nobody waits for its answer
		})
	}
	status, answer, err := c.hall.post("/sse", secret, "", body, fate.Fault)
	if err != nil || status != http.StatusOK {
		const pause = 300 * time.Millisecond
		time.Sleep(pause)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	late := c.secret != secret
	if c.posting == secret {
		c.posting = ""
	}
	c.changed.Broadcast()
	switch {
	case err != nil, status == http.StatusTooManyRequests: // another copy is under way: the same batch again
	case status == http.StatusOK:
		var said struct{ Applied, Sent uint64 }
		if err := json.Unmarshal([]byte(answer), &said); err != nil {
			c.blame("answer %s: %w", answer, err)
			return
		}
		if all := c.forgotten + uint64(len(c.frames)); said.Applied > all || said.Sent < received {
			c.blame("answer %s, and %d had come and %d gone", answer, received, all)
		}
		c.note(said.Applied)
		c.acked = max(c.acked, received)
		if !late {
			c.word = false
		}
	case late && status == http.StatusGone:
	default:
		c.blame("POST %.60s: %d %s", body, status, answer)
	}
}

// spare takes back the fates that no POST has met yet.
func (c *resumer) spare() {
	for {
		select {
		case <-c.posts:
		default:
			return // a POST may take the last one at the same time, so a look at len would not do
		}
	}
}

// cut breaks the present connection, and what is under way on it is lost.
func (c *resumer) cut() {
	if cr := c.present(); cr != nil {
		cr.plug.kill()
	}
}

// present returns the connection that carries counted frames, or nil.
func (c *resumer) present() *carrier {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line
}

// idle reports whether the client has no connection, and none in sight.
func (c *resumer) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line == nil && c.attaching == 0
}

// wrong notes what the server must not do.
func (c *resumer) wrong(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blame(format, args...)
}

// blame is wrong with c.mu held.
func (c *resumer) blame(format string, args ...any) {
	if c.fault == nil {
		c.fault = fmt.Errorf(format, args...)
	}
}

// leave says goodbye, and waits until nothing of the client is left.
func (c *resumer) leave() {
	c.mu.Lock()
	c.stopped = true
	line, secret, kind := c.line, c.secret, c.transport
	c.changed.Broadcast()
	c.mu.Unlock()
	if kind != transport.WebSocket {
		_, _, _ = c.hall.post("/bye", secret, "", secret, fault{})
	} else if line != nil {
		_ = line.ws.write(fin|opText, goodbye)
	}
	c.working.Wait()
}
