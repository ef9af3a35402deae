package conformance

import (
	"fmt"
	"strings"

	"github.com/coder/websocket"
)

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
			again.probes("before") // and nothing comes in front of it
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
	{"resume: until a promotion the former connection carries the frames", false, pairs, func(t *try, kind string) {
		from, to, _ := strings.Cut(kind, " to ")
		c, ref := t.lasting(from)
		again := c.resumes(to)
		frame := encode(ref, "one", t.topic, t.Event, t.marked("1"))
		c.send(frame)
		want(t, "text of the broadcast", t.messageOf(c.next()).mark, "1")
		c.answer("one", t.topic)
		again.received = c.received
		if to == onStream {
			again.sent = c.sent
		}
		again.promote()
		if to == onWebSocket { // its numbers go on from the hello, which did not have the frame
			again.send(frame)
		}
		c.moved()
		again.say(ref, t.topic) // and nothing comes twice
	}},
	{"resume: until a promotion all secrets are good", false, each, func(t *try, kind string) {
		c, ref := t.lasting(kind)
		first := c.resumes(kind)
		first.abort()
		c.resumes(onStream).abort()
		last := first.resumes(kind)
		last.promote()
		c.moved()
		last.say(ref, t.topic)
		t.over(kind, first.hello.Secret)
	}},
	{"resume: an unknown secret makes a new client socket", false, each, func(t *try, kind string) {
		t.over(kind, strings.Repeat("x", 32))
	}},
	{"resume: a Chime-Received that is no number is 400, and ends nothing", false, each, func(t *try, kind string) {
		c, ref := t.lasting(kind)
		for _, bad := range []string{"abc", "-1", "1.5", "18446744073709551616"} {
			t.answered(400, `{"reason":"`, "GET", "sse", "", "Chime-Received", bad, "Chime-Secret", c.hello.Secret)
		}
		c.say(ref, t.topic)
	}},
	{"requests: any Content-Type of a POST will do", false, once, func(t *try, _ string) {
		c, ref := t.lasting(onStream)
		for _, kind := range []string{"application/json", "text/plain", "image/png", ""} {
			t.answered(200, fmt.Sprintf(`"applied":%d,`, c.sent), "POST", "sse", batch(c.sent+1, c.received), "Chime-Secret", c.hello.Secret, "Content-Type", kind)
		}
		c.say(ref, t.topic)
	}},
	{"resume: what is not promoted is ended by a counted frame, alone", false, once, func(t *try, _ string) {
		c, _ := t.lasting(onWebSocket)
		again := c.resumes(onWebSocket)
		again.send(encode("1", "1", t.topic, "phx_leave", fields{}))
		again.endsAlone(wait, 1007, "")
		c.probes("still")
	}},
	{"resume: a POST that promotes may be answered with 409", false, each, func(t *try, kind string) {
		c, ref := t.lasting(kind)
		again := c.resumes(onStream)
		again.posts(batch(c.sent+2, c.received, encode("1", "1", t.topic, "phx_leave", fields{})), 409, fmt.Sprintf(`{"want":%d}`, c.sent+1))
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
		again.answer("one", t.topic)
		again.say(ref, t.topic)
	}},
}

var endChecks = []check{
	{"ends: a WebSocket that is closed with any code, or none, is resumed", false, once, func(t *try, _ string) {
		c, ref := t.lasting(onWebSocket)
		for _, code := range []websocket.StatusCode{1000, 1001, 1005, 1012, 4000} { // 1005 is a close frame without one
			_ = c.ws.Close(code, "")
			c = c.resumes(onWebSocket)
			c.promote()
		}
		c.say(ref, t.topic)
	}},
	{"ends: a goodbye ends the client socket", false, each, func(t *try, kind string) {
		c, _ := t.lasting(kind)
		c.send(encode(nil, nil, "chime", "goodbye", fields{}))
		c.ends(1000)
		t.over(kind, c.hello.Secret)
	}},
	{"ends: an undecodable frame is 1007, and ends the client socket", false, once, func(t *try, _ string) {
		for _, bad := range []string{`{`, `{}`, `null`, `["1","1","t","e"]`, `[1,"1","t","e",{}]`, `["1","1",null,"e",{}]`, "[\"1\",\"1\",\"t\",\"\xff\",{}]",
			`["` + strings.Repeat("1", 256) + `","1","t","e",{}]`, `[null,null,"chime","ack",{}]`, `[null,null,"chime","ack",{"received":99}]`, `[null,null,"chime","probe",{}]`} {
			c, _ := t.lasting(onWebSocket)
			t.works("send", c.ws.Write(t.ctx, websocket.MessageText, []byte(bad)))
			c.ends(1007)
			t.over(onWebSocket, c.hello.Secret)
		}
	}},
	{"ends: a frame over message_bytes is 1009, and ends the client socket", false, once, func(t *try, _ string) {
		c, _ := t.lasting(onWebSocket)
		c.send(encode("1", "1", t.topic, t.Event, fields{"x": strings.Repeat("x", c.hello.Limits["message_bytes"])}))
		c.ends(1009)
		t.over(onWebSocket, c.hello.Secret)
	}},
}
