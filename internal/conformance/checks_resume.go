package conformance

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// lasting is a client socket in the topic of the check, which outlives its connection.
func (t *try) lasting(kind string) (*conn, string) {
	c := t.open(kind)
	if c.hello.grace() == 0 {
		panic(skip{})
	}
	ref, _ := c.join(t.topic, fields{"@last": 0})
	return c, ref
}

// abort ends a connection without a word.
func (c *conn) abort() {
	if c.kind == onWebSocket {
		_ = c.ws.CloseNow()
	} else {
		c.cancel()
	}
}

// pause waits, or fails if the run is cancelled.
func (t *try) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
		t.fail("%w", context.Cause(t.ctx))
	}
}

// resumes is a resume of c, of which it checks the hello.
func (c *conn) resumes(kind string) *conn {
	again := c.t.resume(kind, c.hello.Secret, c.received)
	want(c.t, "id after a resume", again.hello.ID, c.hello.ID)
	want(c.t, "received after a resume", *again.hello.Received, c.sent)
	want(c.t, "a new secret", again.hello.Secret != c.hello.Secret, true)
	return again
}

var resumeChecks = []check{
	{"resume: nothing is lost, and the channel notices nothing", false, pairs, func(t *try, kind string) {
		from, to, _ := strings.Cut(kind, " to ")
		c, ref := t.lasting(from)
		writer, writerRef, _ := t.some(0)
		one := writer.say(writerRef, t.topic)
		want(t, "message", t.messageOf(c.next()), one)
		two := writer.say(writerRef, t.topic)
		c.abort()
		three := writer.say(writerRef, t.topic)
		again := c.resumes(to)
		if to == onWebSocket {
			again.answers("before") // and nothing comes in front of it
		}
		again.promote()
		again.replays([]message{two, three})
		again.say(ref, t.topic)
		t.over(from, c.hello.Secret)
	}},
	{"resume: a promotion ends the former connection with moved", false, pairs, func(t *try, kind string) {
		from, to, _ := strings.Cut(kind, " to ")
		c, ref := t.lasting(from)
		again := c.resumes(to)
		again.promote()
		c.moved()
		again.say(ref, t.topic)
	}},
	{"resume: until a promotion all secrets are good", false, each, func(t *try, kind string) {
		c, ref := t.lasting(kind)
		first := c.resumes(kind)
		first.abort()
		c.resumes(other(kind)).abort()
		last := first.resumes(kind)
		last.promote()
		c.moved()
		last.say(ref, t.topic)
		t.over(kind, first.hello.Secret)
	}},
	{"resume: an unknown secret makes a new client socket", false, each, func(t *try, kind string) {
		t.over(kind, strings.Repeat("x", 32))
	}},
	{"resume: what is not promoted is ended by a counted frame, alone", false, once, func(t *try, _ string) {
		c, _ := t.lasting(onWebSocket)
		again := c.resumes(onWebSocket)
		again.send(encode("1", "1", t.topic, "phx_leave", fields{}))
		code, _ := again.ends(t.Wait)
		want(t, "code", code, 1007)
		c.answers("still")
	}},
	{"resume: a POST that promotes may be answered with 409", false, each, func(t *try, kind string) {
		c, ref := t.lasting(kind)
		again := c.resumes(onStream)
		again.refuses(batch(c.sent+2, c.received, encode("1", "1", t.topic, "phx_leave", fields{})), http.StatusConflict, fmt.Sprintf(`{"want":%d}`, c.sent+1))
		c.moved()
		again.say(ref, t.topic)
	}},
	{"resume: frames that are sent again are applied once", false, once, func(t *try, _ string) {
		c, ref := t.lasting(onWebSocket)
		again := c.resumes(onWebSocket)
		frame := encode(ref, "one", t.topic, t.Event, t.marked("1"))
		c.send(frame)
		t.messageOf(c.next())
		again.promote()
		again.send(frame) // the hello did not have it
		want(t, "message that is sent again", t.messageOf(again.next()).mark, "1")
		want(t, "reply", t.replyOf(again.next()).ref, "one")
		again.say(ref, t.topic)
	}},
}

var endChecks = []check{
	{"ends: a WebSocket closed with 4000 is resumed, one with 1000 has ended", false, once, func(t *try, _ string) {
		c, _ := t.lasting(onWebSocket)
		_ = c.ws.Close(4000, "")
		again := c.resumes(onWebSocket)
		again.promote()
		_ = again.ws.Close(websocket.StatusNormalClosure, "")
		t.over(onWebSocket, again.hello.Secret)
	}},
	{"ends: an undecodable frame is 1007, and ends the client socket", false, once, func(t *try, _ string) {
		for _, bad := range []string{`{`, `{}`, `null`, `["1","1","t","e"]`, `[1,"1","t","e",{}]`, `["1","1",null,"e",{}]`, "[\"1\",\"1\",\"t\",\"\xff\",{}]",
			`["` + strings.Repeat("1", 256) + `","1","t","e",{}]`, `[null,null,"chime","ack",{}]`, `[null,null,"chime","ack",{"received":99}]`, `[null,null,"chime","probe",{}]`} {
			c, _ := t.lasting(onWebSocket)
			if err := c.ws.Write(t.ctx, websocket.MessageText, []byte(bad)); err != nil {
				t.fail("send: %w", err)
			}
			code, _ := c.ends(t.Wait)
			want(t, "code for "+bad, code, 1007)
			t.over(onWebSocket, c.hello.Secret)
		}
	}},
	{"ends: a frame over message_bytes is 1009, and ends the client socket", false, once, func(t *try, _ string) {
		c, _ := t.lasting(onWebSocket)
		c.send(encode("1", "1", t.topic, t.Event, fields{"x": strings.Repeat("x", c.hello.Limits.MessageBytes)}))
		code, _ := c.ends(t.Wait)
		want(t, "code", code, 1009)
		t.over(onWebSocket, c.hello.Secret)
	}},
}
