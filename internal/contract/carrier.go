package contract

import "encoding/json"

// carrier is one connection of a lasting line.
type carrier struct {
	of        *lastingLine
	transport string
	line      line
	had       uint64 // counted frames that had come when it was asked for
	hello     greeting
	greeted   chan greeting
	cut       chan struct{} // closed by lose
	proved    chan struct{} // closed when the server is known to have promoted it
	ended     chan struct{}

	// Guarded by of.mu.
	code     int
	dead     bool
	promoted bool // it was, once
	aborted  bool // by this client
	moved    bool // it has been told that another has taken its place
	last     bool // its end was that of the client socket
}

func (c *carrier) keep(raw []byte)                  { c.of.box.keep(raw) }
func (c *carrier) retryAfter(ms string)             { c.of.box.retryAfter(ms) }
func (c *carrier) blame(format string, args ...any) { c.of.box.blame(format, args...) }

func (c *carrier) put(f frame) {
	l := c.of
	l.mu.Lock()
	defer l.mu.Unlock()
	for c == l.conn && l.here && f.counted() && (l.reads == 0 || l.hears == 0 && c.transport == polls) {
		l.mu.Unlock() // the server may give again what a poll brought until it says that it has come
		<-c.cut
		l.mu.Lock()
	}
	switch {
	case f.topic == "chime" && f.event == "hello":
		var g greeting
		text, _ := json.Marshal(f.payload)
		if err := json.Unmarshal(text, &g); err != nil {
			c.blame("hello %s: %v", text, err)
		}
		select {
		case c.greeted <- g:
		default:
			c.blame("a second hello")
		}
	case f.topic == "chime" && f.event == "probe_ok":
		close(c.proved)
	case f.topic == "chime" && f.event == "moved":
		c.moved = true
	case !c.promoted && f.counted():
		c.blame("got %v before the connection was promoted", f)
	case c != l.conn || !l.here: // what comes here comes again
	case !f.counted():
		l.box.put(f)
		if f.event == "heartbeat" {
			l.ack(c)
		}
	case l.hears == 0:
	default:
		l.hears--
		l.reads--
		l.heard++
		l.box.put(f)
		const often = 64
		if l.heard >= l.acked+often {
			l.ack(c)
		}
		if l.restless && l.toss(20) {
			l.stir()
		}
	}
}

func (c *carrier) say(code int) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.code = code
	if c.last {
		c.of.box.say(code)
	}
}

func (c *carrier) end() {
	const moved = 4001
	l := c.of
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(c.ended)
	c.dead = true
	switch {
	case l.finished:
	case c == l.conn && l.here:
		if c.code == moved {
			c.blame("the connection that was promoted last ended with %d", moved)
		}
		l.here, c.last = false, true
		l.finish(c.code)
	case c.transport == polls && c.code <= 0: // between two polls it cannot be told
	case c.promoted && !c.aborted && (c.code == 0 || c.code == moved && !c.moved):
		c.blame("the former connection ended with the code %d; told that it was moved: %v", c.code, c.moved)
	}
}

// goesOn stands in for a hello where a poll goes on with the connection that was cut.
func (c *carrier) goesOn() {
	l := c.of
	l.mu.Lock()
	defer l.mu.Unlock()
	c.greeted <- greeting{ID: l.id, Secret: l.secret, Resumed: true, Received: uint64(l.passed), Sent: l.heard}
}

// heard is how many counted frames have come, on whichever connection.
func (c *carrier) heard() uint64 {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	return c.of.heard
}
