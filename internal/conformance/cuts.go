package conformance

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"time"
)

var cutChecks = []check{
	{"cuts: every message and every reply once and in order", false, []string{onWebSocket, onStream, "both"}, func(t *try, kind string) {
		t.lasting(onWebSocket) // or it is skipped
		d := &courier{try: t, kinds: []string{kind}, topic: t.topic + "-cut"}
		if kind == "both" {
			d.kinds = each
		}
		t.proxy.cutAfter(func() int64 { return 400 + rand.Int64N(4000) })
		for d.replies <= t.Cuts || len(d.messages) < t.Cuts {
			switch err := t.attempt(d.step); {
			case errors.Is(err, errBroken):
				d.drop()
			case err != nil:
				t.fail("%w", err)
			}
		}
		t.proxy.cutAfter(nil)
		c := t.open(onWebSocket)
		c.join(d.topic, position(d.history.Epoch, *d.history.Offset))
		c.replays(d.messages)
	}},
}

// courier is a client as the page describes it. It sends t.Cuts messages while
// its connections are cut.
type courier struct {
	*try
	kinds []string
	topic string

	conn            *conn // nil without one
	secret          string
	received, known uint64   // counted frames of the server, and those of ours that the server is known to have
	queue           []string // ours behind these, the oldest first

	history  history
	replies  int
	messages []message
}

// step opens a connection if there is none. Then it sends a frame if few are
// without an answer, and takes what comes.
func (d *courier) step() {
	if d.conn == nil {
		d.resume()
	}
	patience := wait
	if sent := int(d.known) + len(d.queue); sent < d.replies+4 && sent <= d.Cuts {
		patience = time.Millisecond
		ref := strconv.Itoa(sent + 1)
		text := encode("1", ref, d.topic, d.Event, d.marked(strconv.Itoa(sent)))
		if sent == 0 {
			text = encode("1", ref, d.topic, "phx_join", fields{"@last": 0})
		}
		d.queue = append(d.queue, text)
		d.conn.sendFrom(uint64(sent)+1, text)
	}
	f, ok := d.conn.read(patience)
	switch {
	case d.conn.ended:
		d.drop()
	case !ok && patience == wait:
		d.fail("nothing came in %v", wait)
	case !ok, f.topic == "chime":
	case f.event == "phx_reply":
		d.replies++
		want(d.try, "ref of the next reply", f.ref, strconv.Itoa(d.replies))
		r := d.conn.decode(f)
		want(d.try, "its status", r.Status, "ok")
		if d.replies == 1 {
			d.history = d.conn.joined(r)
		}
		d.has(uint64(d.replies))
	default:
		m := d.messageOf(f)
		want(d.try, "next message", m.mark, strconv.Itoa(len(d.messages)+1))
		d.messages = append(d.messages, m)
	}
}

// resume opens a connection and promotes it with what the server does not have.
func (d *courier) resume() {
	c := d.dial(d.kinds[rand.IntN(len(d.kinds))], d.secret, d.received)
	d.conn, d.secret = c, c.hello.Secret
	if d.known+d.received > 0 { // before, it may have ended with its connection
		want(d.try, "resumed", *c.hello.Resumed, true)
	}
	n := *c.hello.Received
	if n < d.known || n > d.known+uint64(len(d.queue)) {
		d.fail("hello: got received %d, want %d to %d", n, d.known, d.known+uint64(len(d.queue)))
	}
	d.has(n)
	if c.kind == onWebSocket && *c.hello.Resumed {
		c.promote()
	}
	c.sendFrom(d.known+1, d.queue...)
}

func (d *courier) drop() {
	if d.conn != nil {
		d.conn.abort()
		d.received, d.conn = d.conn.received, nil
	}
}

// has forgets the frames that the server has.
func (d *courier) has(n uint64) {
	if n > d.known {
		d.queue, d.known = d.queue[n-d.known:], n
	}
}
