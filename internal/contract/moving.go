package contract

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// lastingLine is a line that outlives its connections: what is lost with one it
// sends, or is sent, again on the next. A restless one changes its connection
// whenever it likes, on its own and in the middle of whatever is going on.
type lastingLine struct {
	visit
	transports []string // that it chooses from
	restless   bool

	changing sync.Mutex // while a connection is ended or opened
	out      sync.Mutex // keeps in order what goes out, by whichever connection
	working  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	random   *rand.Rand
	conn     *carrier // the one promoted last
	here     bool     // it has not ended
	away     bool     // and there will be no other until Return
	quiet    bool     // it changes connections no more
	over     bool     // the client socket has ended
	finished bool     // so has the test
	all      []*carrier
	id       string
	sent     []json.RawMessage // counted frames
	passed   int               // of these, on conn or before
	heard    uint64            // counted frames that have come
	acked    uint64
	hears    int // so many more are heard, the rest is lost; negative: all are
	reads    int // so many more are read until the connection is lost; negative: all are
}

// whileAway is the code of an end that happened while the client had no
// connection: it only finds that it can't come back.
const whileAway = -1

const cuts = websocket.StatusCode(0) // the code of an end without a close frame

var errOver = errors.New("the client socket has ended")

const polls = "longpoll"

var dialTransport = map[string]func(visit) (line, error){"websocket": dialChime, "sse": dialStream, polls: openPolls}

func dialMoving(v visit) (line, error) { return dialLasting(v, true, "websocket", "sse", polls) }

// dialLastingOn dials a client that loses its connection and comes back when it
// is told to, on one transport.
func dialLastingOn(transport string) func(visit) (line, error) {
	return func(v visit) (line, error) { return dialLasting(v, false, transport) }
}

func dialLasting(v visit, restless bool, transports ...string) (line, error) {
	l := &lastingLine{visit: v, transports: transports, restless: restless, hears: -1, reads: -1, random: rand.New(rand.NewPCG(v.seed, 0))}
	c, err := l.open()
	if err == nil {
		l.promote(c)
	}
	return l, err
}

// ack acknowledges what has come. Whoever reads finds out if it fails. l.mu is held.
func (l *lastingLine) ack(c *carrier) {
	first, heard := uint64(l.passed)+1, l.heard
	l.acked = heard
	if ws, ok := c.line.(*socketLine); ok {
		_ = ws.send(ackFrame(heard))
	} else if to, ok := c.line.(*streamLine); ok && !l.finished { // the next poll says so
		l.working.Go(func() {
			l.out.Lock() // one POST at a time
			defer l.out.Unlock()
			_, _ = to.batch(first, heard)
		})
	}
}

// finish ends the line. l.mu is held.
func (l *lastingLine) finish(code int) {
	l.over = true
	l.box.say(code)
	l.box.end()
}

// toss is true once in n times. l.mu is held.
func (l *lastingLine) toss(n int) bool { return l.random.IntN(n) == 0 }

// stir changes the connection, while everything goes on. l.mu is held.
func (l *lastingLine) stir() {
	if l.idle() || !l.changing.TryLock() {
		return
	}
	l.working.Go(func() {
		defer l.changing.Unlock()
		l.change()
	})
}

// idle reports whether it makes no sense to change the connection. l.mu is held.
func (l *lastingLine) idle() bool { return l.quiet || l.away || l.reads >= 0 || l.over || l.finished }

// change goes to another connection, which may be of another transport: before
// or after the one it has ends. l.changing is held.
func (l *lastingLine) change() {
	l.mu.Lock()
	idle := l.idle()
	loses := l.losses && l.heard > 0 && l.toss(3)
	l.mu.Unlock()
	if idle {
		return
	}
	if loses {
		l.lose(cuts)
	}
	l.comeBack()
}

// lose cuts the connection, or closes a WebSocket as a box would. l.changing is held.
func (l *lastingLine) lose(code websocket.StatusCode) {
	l.mu.Lock()
	c := l.conn
	again := c.aborted
	l.here, c.aborted = false, true
	l.mu.Unlock()
	if again {
		return
	}
	close(c.cut)
	if ws, ok := c.line.(*socketLine); ok && code != cuts {
		ws.closeWith(code)
		return
	}
	c.line.cut()
}

// comeBack opens a connection and promotes it. l.changing is held.
func (l *lastingLine) comeBack() {
	c, err := l.open()
	l.mu.Lock()
	back := err == nil && c.hello.Resumed
	if !back && !l.here && !l.over && !l.finished {
		l.finish(whileAway)
	}
	stalls := l.reads >= 0
	l.mu.Unlock()
	switch {
	case back && (!l.promote(c) || stalls):
	case back:
		select { // a client that rests must know where the server writes
		case <-c.proved:
		case <-c.ended:
		case <-time.After(patience):
			c.blame("the probe of a connection that was promoted was not answered")
		}
	case err == nil:
		c.line.close() // a new client socket is not what was asked for
	}
}

// choose chooses the transport of the next connection. Whoever polls and has no reason to
// do anything else polls on. l.mu is held.
func (l *lastingLine) choose() string {
	for {
		to := l.transports[l.random.IntN(len(l.transports))]
		if to != polls || !l.here || l.conn.transport != polls {
			return to
		}
	}
}

// open opens a connection, and returns it when it has its hello.
func (l *lastingLine) open() (*carrier, error) {
	l.mu.Lock()
	c := &carrier{of: l, transport: l.choose(), greeted: make(chan greeting, 1), had: l.heard}
	c.proved, c.ended, c.cut = make(chan struct{}), make(chan struct{}), make(chan struct{})
	v := l.visit
	v.box, v.received = c, l.heard
	if v.secret = l.secret; v.secret != "" {
		v.head = maps.Clone(v.head)
		v.head.Set("X-Visit", "one that came later") // the channel sees the first
	}
	l.mu.Unlock()
	var err error
	if c.line, err = dialTransport[c.transport](v); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.all = append(l.all, c)
	l.mu.Unlock()
	select {
	case c.hello = <-c.greeted:
		return c, nil
	case <-c.ended:
		return nil, errOver
	case <-time.After(patience):
		return nil, errors.New("no hello came")
	}
}

// promote has c carry the client, and sends again what the
// server does not have. It reports false if it is too late for that.
func (l *lastingLine) promote(c *carrier) bool {
	l.out.Lock()
	defer l.out.Unlock()
	l.mu.Lock()
	if l.over || l.finished || c.dead {
		if c.dead && !l.here && !l.over && !l.finished {
			l.finish(c.code)
		}
		l.mu.Unlock()
		return false
	}
	hello := &c.hello
	switch {
	case l.id != "" && hello.ID != l.id:
		c.blame("resumed as %s, want %s", hello.ID, l.id)
	case hello.Received > uint64(len(l.sent)) || hello.Sent < c.had:
		c.blame("hello %+v, but %d were sent and %d have come", *hello, len(l.sent), c.had)
	}
	l.id, l.secret, l.passed = hello.ID, hello.Secret, int(hello.Received)
	l.conn, l.here, c.promoted = c, true, true
	l.acked = l.heard
	heard := l.heard
	l.mu.Unlock()
	switch to := c.line.(type) {
	case *socketLine:
		if hello.Resumed {
			_ = to.send(ackFrame(heard)) // whoever reads finds out if this fails
			_ = to.send(frame{topic: "chime", event: "probe", payload: obj{"nonce": c.transport}})
		}
	case posting:
		to.goOn(heard)
		if hello.Resumed {
			l.blameUnlessOver(l.post(to))
			close(c.proved)
		}
	}
	l.blameUnlessOver(l.pour())
	return true
}

// blameUnlessOver takes an error that only the end of the client socket excuses.
func (l *lastingLine) blameUnlessOver(err error) {
	if refused, ok := errors.AsType[*refusedError](err); err != nil && (!ok || refused.status != 410) {
		l.box.blame("resuming: %v", err)
	}
}

// pour sends what has not been sent on the present connection. POSTs are
// taken when the connection is broken, too. l.out is held.
func (l *lastingLine) pour() error {
	for {
		l.mu.Lock()
		c, here, passed, over := l.conn, l.here, l.passed, l.over
		due := l.sent[passed:]
		l.mu.Unlock()
		if len(due) == 0 || over {
			return nil
		}
		switch to := c.line.(type) {
		case posting:
			if err := l.post(to); err != nil {
				return err
			}
		case *socketLine:
			if !here {
				return nil
			}
			// Whoever reads finds out if this fails.
			_ = to.ws.Write(context.Background(), websocket.MessageText, due[0])
			l.mu.Lock()
			l.passed++
			l.mu.Unlock()
		}
	}
}

// post sends one batch, which may arrive twice. l.out is held.
func (l *lastingLine) post(to posting) error {
	const most = 50
	l.mu.Lock()
	first, heard := l.passed+1, l.heard
	due := slices.Clone(l.sent[l.passed:min(len(l.sent), l.passed+most)])
	twice := l.restless && l.toss(8)
	l.acked = heard
	l.mu.Unlock()
	applied, err := to.batch(uint64(first), heard, due...)
	if err != nil {
		return err
	}
	if want := uint64(first - 1 + len(due)); applied != want {
		l.box.blame("%d frames are applied, want %d", applied, want)
	}
	if twice {
		_, err := to.batch(uint64(first), heard, due...)
		l.blameUnlessOver(err)
	}
	l.mu.Lock()
	l.passed += len(due)
	l.mu.Unlock()
	return nil
}

func (l *lastingLine) send(f frame) error {
	l.mu.Lock()
	before, during := l.restless && l.toss(8), l.restless && l.toss(6)
	l.mu.Unlock()
	if before {
		l.changing.Lock()
		l.change()
		l.changing.Unlock()
	}
	l.mu.Lock()
	if during {
		l.stir()
	}
	l.mu.Unlock()
	l.out.Lock()
	defer l.out.Unlock()
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return errOver
	}
	l.sent = append(l.sent, f.text())
	l.mu.Unlock()
	return l.pour()
}

// rest has the line keep the connection that it has.
func (l *lastingLine) rest() {
	l.mu.Lock()
	l.quiet = true
	l.mu.Unlock()
	l.changing.Lock()
	defer l.changing.Unlock() // whoever had it has done
}

// stayAway ends the connection; the line has none until goBack.
func (l *lastingLine) stayAway(code websocket.StatusCode) {
	l.changing.Lock()
	defer l.changing.Unlock()
	l.mu.Lock()
	l.away, l.hears, l.reads = true, -1, -1
	l.mu.Unlock()
	l.lose(code)
}

func (l *lastingLine) goBack() {
	l.changing.Lock()
	defer l.changing.Unlock()
	l.mu.Lock()
	l.away = false
	l.mu.Unlock()
	l.comeBack()
}

// hear has n more counted frames come, and those behind get lost with the
// connection.
func (l *lastingLine) hear(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hears = n
}

// stall has n more counted frames be read, and those behind not.
func (l *lastingLine) stall(n int) {
	l.changing.Lock() // a change needs to read
	defer l.changing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = n
}

func (l *lastingLine) close() {
	l.rest()
	l.mu.Lock()
	c, here, secret := l.conn, l.here, l.secret
	l.mu.Unlock()
	if here {
		c.line.close()
		return
	}
	(&posts{visit: l.visit}).bye(secret)
}

// hangUp ends the client socket if its end would wait for a poll.
func (l *lastingLine) hangUp() {
	l.rest()
	if p, ok := l.conn.line.(*pollLine); ok {
		p.hangUp(l.secret)
	}
}

func (l *lastingLine) cut() {
	l.mu.Lock()
	l.finished = true
	l.mu.Unlock()
	l.changing.Lock() // nobody opens another
	defer l.changing.Unlock()
	l.working.Wait()
	for _, c := range l.all {
		l.mu.Lock()
		if !c.aborted {
			c.aborted = true
			close(c.cut)
		}
		l.mu.Unlock()
		c.line.cut()
	}
	l.box.end()
}
