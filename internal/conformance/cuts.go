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
		kinds := []string{kind}
		if kind == "both" {
			kinds = each
		}
		d := &courier{t: t, kinds: kinds, topic: t.topic + "-cut"}
		t.proxy.cutAfter(func() int64 { return 400 + rand.Int64N(4000) })
		d.deliver()
		t.proxy.cutAfter(nil)
		c := t.open(onWebSocket)
		c.join(d.topic, position(d.epoch, d.begin))
		c.replays(d.messages)
	}},
}

// courier is a client as the page describes it. It sends t.Cuts messages while
// its connections are cut.
type courier struct {
	t     *try
	kinds []string
	topic string

	conn            *conn // nil without one
	secret          string
	received, known uint64   // counted frames of the server, and those of ours that the server is known to have
	queue           []string // ours behind these, the oldest first

	epoch    string
	begin    uint64 // where the join begins
	replies  int
	messages []message
}

func (d *courier) deliver() {
	for d.replies <= d.t.Cuts || len(d.messages) < d.t.Cuts {
		if d.conn == nil {
			d.attach()
			continue
		}
		wait := d.t.Wait
		if sent := int(d.known) + len(d.queue); sent < d.replies+4 && sent <= d.t.Cuts {
			wait = time.Millisecond
			if !d.send(d.frame(sent + 1)) {
				continue
			}
		}
		f, err := d.conn.recv(wait)
		switch {
		case errors.Is(err, errNothing) && wait < d.t.Wait:
		case errors.Is(err, errEnded):
			d.drop()
		case err != nil:
			d.t.fail("%w", err)
		default:
			d.take(f)
		}
	}
}

// frame returns frame number n: a join, then messages.
func (d *courier) frame(n int) string {
	ref := strconv.Itoa(n)
	if n == 1 {
		return encode("1", ref, d.topic, "phx_join", fields{"@last": 0})
	}
	return encode("1", ref, d.topic, d.t.Event, d.t.marked(strconv.Itoa(n-1)))
}

// attach opens a connection and promotes it with what the server does not have.
func (d *courier) attach() {
	c, err := d.t.dial(d.kinds[rand.IntN(len(d.kinds))], d.secret, d.received)
	if r, ok := errors.AsType[*refused](err); ok {
		d.t.fail("resume: %w", r)
	}
	if err != nil {
		return
	}
	if d.known+d.received > 0 { // before, it may have ended with its connection
		want(d.t, "resumed", *c.hello.Resumed, true)
	}
	d.conn, d.secret = c, c.hello.Secret
	if n := *c.hello.Received; n < d.known || n > d.known+uint64(len(d.queue)) {
		d.t.fail("hello: got received %d, want %d to %d", n, d.known, d.known+uint64(len(d.queue)))
	}
	d.has(*c.hello.Received)
	if c.kind == onWebSocket {
		if *c.hello.Resumed && c.trySend(c.sent+1, encode(nil, nil, "chime", "ack", fields{"received": c.received})) != nil {
			d.drop()
			return
		}
	}
	if err := c.trySend(d.known+1, d.queue...); err != nil {
		d.failed(err)
	}
}

// send sends one more frame. It reports false if the connection is cut.
func (d *courier) send(text string) bool {
	first := d.known + uint64(len(d.queue)) + 1
	d.queue = append(d.queue, text)
	if err := d.conn.trySend(first, text); err != nil {
		d.failed(err)
		return false
	}
	return true
}

// failed fails if a POST was refused. Else the connection is cut.
func (d *courier) failed(err error) {
	if r, ok := errors.AsType[*refused](err); ok {
		d.t.fail("POST: %w", r)
	}
	d.drop()
}

func (d *courier) drop() {
	d.conn.abort()
	d.received = d.conn.received
	d.conn = nil
}

// has forgets the frames that the server has.
func (d *courier) has(n uint64) {
	if n > d.known {
		d.queue, d.known = d.queue[n-d.known:], n
	}
}

func (d *courier) take(f frame) {
	t := d.t
	if f.topic == "chime" {
		return
	}
	if f.event != "phx_reply" {
		m := t.messageOf(f)
		want(t, "next message", m.mark, strconv.Itoa(len(d.messages)+1))
		d.messages = append(d.messages, m)
		return
	}
	d.replies++
	r := t.replyOf(f)
	want(t, "ref of the next reply", r.ref, strconv.Itoa(d.replies))
	want(t, "its status", r.status, "ok")
	d.has(uint64(d.replies))
	if d.replies == 1 {
		h := t.historyOf(r)
		d.epoch, d.begin = h.Epoch, *h.Offset
	}
}
