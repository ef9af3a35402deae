package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// checks are the sentences of docs/protocol.md, in its order.
var checks = slices.Concat(requestChecks, frameChecks, historyChecks, olderChecks, postChecks, resumeChecks, endChecks, rateChecks, timedChecks, cutChecks)

var requestChecks = []check{
	{"hello: is the first frame, and complete", false, each, func(t *try, kind string) {
		c := t.open(kind)
		want(t, "received and sent of a new client socket", *c.hello.Received+*c.hello.Sent, 0)
		if kind == onWebSocket {
			want(t, "subprotocol", c.ws.Subprotocol(), "chime.v1")
			return
		}
		want(t, "Content-Type", c.header.Get("Content-Type"), "text/event-stream")
		want(t, "X-Accel-Buffering", c.header.Get("X-Accel-Buffering"), "no")
		for _, directive := range []string{"no-cache", "no-store", "no-transform"} {
			want(t, "Cache-Control has "+directive, strings.Contains(c.header.Get("Cache-Control"), directive), true)
		}
	}},
	{"requests: what is not there is 404, 405 or 400", false, once, func(t *try, _ string) {
		t.answered(404, "", "GET", "nothing-here", "")
		t.answered(405, "", "DELETE", "sse", "")
		t.answered(400, `{"reason":"`, "GET", "websocket", "")
	}},
	{"origin: a foreign page is refused", false, each, func(t *try, kind string) {
		for _, origin := range []string{"https://evil.example", "null"} {
			t.refused(403, kind, "Origin", origin)
		}
		t.refused(403, kind, "Sec-Fetch-Site", "cross-site")
		for _, path := range []string{"sse", "bye"} {
			t.answered(403, "", "POST", path, "", "Origin", "https://evil.example")
		}
	}},
	{"origin: its own page is let in", false, each, func(t *try, kind string) {
		t.dial(kind, "", 0, "Origin", t.base.Scheme+"://"+t.base.Host)
	}},
}

// refused fails unless a connection with a header is answered with a status.
func (t *try) refused(status int, kind string, header ...string) {
	err := t.attempt(func() { t.dial(kind, "", 0, header...) })
	if r, ok := errors.AsType[*refused](err); !ok || r.status != status {
		t.fail("%q: got %v, want the status %d", header, err, status)
	}
}

var frameChecks = []check{
	{"frames: join, event, broadcast, reply, leave", false, each, func(t *try, kind string) {
		c := t.open(kind)
		ref, _ := c.join(t.topic, fields{})
		c.say(ref, t.topic)
		c.send(encode(ref, nil, t.topic, t.Event, t.marked("x"))) // without a ref there is no reply
		want(t, "broadcast of a frame without a ref", t.messageOf(c.next()).mark, "x")
		r := c.ask(ref, t.topic, "phx_leave", fields{})
		want(t, "status of the leave", r.Status+r.joinRef, "ok"+ref)
		f := c.next()
		want(t, "frame behind the leave", f.event+f.ref+f.joinRef, "phx_close"+ref+ref)
		c.fails(ref, t.topic, t.Event, t.marked("x"), "unmatched topic", "")
		want(t, "leave of a topic that is not joined", c.ask(nil, t.topic, "phx_leave", fields{}).Status, "ok")
	}},
	{"frames: what cannot be joined or sent is an error reply", false, each, func(t *try, kind string) {
		c := t.open(kind)
		c.fails("9", "nobody-serves-this:1", "phx_join", fields{}, "unmatched topic", "")
		c.fails("9", t.topic, "phx_join", fields{"@since": 1}, "malformed @since", "9")
		c.fails("9", t.topic, "phx_join", fields{"@last": "x"}, "malformed @last", "9")
		ref, _ := c.join(t.topic, fields{})
		c.fails(ref, t.topic, "phx_anything", fields{}, "invalid event", ref)
		c.say(ref, t.topic)
	}},
	{"frames: a second join replaces the first", false, each, func(t *try, kind string) {
		c := t.open(kind)
		old, _ := c.join(t.topic, fields{"@last": 0})
		ref, _ := c.join(t.topic, fields{"@last": 0})
		f := c.next()
		want(t, "end of the first join", f.event+f.joinRef, "phx_close"+old)
		c.send(encode(old, "late", t.topic, t.Event, t.marked("x"))) // for which there is no answer
		c.say(ref, t.topic)
	}},
	{"frames: space between tokens and a sixth element are allowed", false, each, func(t *try, kind string) {
		c := t.open(kind)
		c.send(` [ "7" , "7" , "` + t.topic + `" , "phx_join" , { } , "more" ] `)
		want(t, "status", c.answer("7", t.topic).Status, "ok")
	}},
	{"frames: the topic phoenix answers heartbeats, and is not counted", false, each, func(t *try, kind string) {
		c := t.open(kind)
		r := c.ask(nil, "phoenix", "heartbeat", fields{})
		want(t, "answer", r.Status+r.joinRef, "ok")
		want(t, "counted", c.received+c.sent, 0)
		c.join(t.topic, fields{})
	}},
	{"frames: a binary message is a push", false, once, func(t *try, _ string) {
		c := t.open(onWebSocket)
		ref, _ := c.join(t.topic, fields{})
		data := append([]byte{0, byte(len(ref)), 1, byte(len(t.topic)), byte(len(t.Event))}, ref+"b"+t.topic+t.Event+"\x00\xff"...)
		t.works("send", c.ws.Write(t.ctx, websocket.MessageBinary, data))
		f := c.next()
		for f.event != "phx_reply" { // the channel may take it or not
			f = c.next()
		}
		want(t, "ref of the reply", f.ref, "b")
	}},
	{"frames: probe is answered", false, each, func(t *try, kind string) { t.open(kind).probes("n1") }},
	{"limits: topics of the hello", false, each, func(t *try, kind string) {
		c := t.open(kind)
		for i := range c.hello.Limits["topics"] {
			c.join(fmt.Sprintf("%s-%d", t.topic, i), fields{"@last": 0})
		}
		c.fails("x", t.topic+"-more", "phx_join", fields{}, "too many channels joined", "x")
	}},
}

var historyChecks = []check{
	{"history: @last replays the newest, and begins before them", false, each, func(t *try, kind string) {
		_, _, said := t.some(5)
		c := t.open(kind)
		_, h := c.join(t.topic, fields{"@last": 2})
		if h.Recovered != nil || *h.Offset < said[2].offset || *h.Offset >= said[3].offset {
			t.fail("got the offset %d, want the place before %d, behind %d, and no recovered", *h.Offset, said[3].offset, said[2].offset)
		}
		c.replays(said[3:])
	}},
	{"history: @last 0 begins at the top", false, each, func(t *try, kind string) {
		_, _, said := t.some(2)
		c := t.open(kind)
		ref, h := c.join(t.topic, fields{"@last": 0})
		want(t, "offset", *h.Offset, said[1].offset)
		if m := c.say(ref, t.topic); m.offset <= *h.Offset {
			t.fail("the next message has the offset %d, want more than %d", m.offset, *h.Offset)
		}
	}},
	{"history: @since replays what follows, and begins there", false, each, func(t *try, kind string) {
		_, _, said := t.some(5)
		c := t.open(kind)
		_, first := c.join(t.topic, fields{"@last": 0})
		for i, m := range said {
			c := t.open(kind)
			ref, h := c.join(t.topic, position(first.Epoch, m.offset))
			want(t, "epoch", h.Epoch, first.Epoch)
			want(t, "recovered", h.Recovered != nil && *h.Recovered, true)
			want(t, "offset", *h.Offset, m.offset)
			c.replays(said[i+1:])
			c.fails(ref, t.topic, "phx_anything", fields{}, "invalid event", ref)
		}
	}},
	{"history: of another epoch nothing is recovered, and the newest follow", false, each, func(t *try, kind string) {
		_, _, said := t.some(5)
		c := t.open(kind)
		_, h := c.join(t.topic, position("another", said[3].offset))
		want(t, "recovered", h.Recovered != nil && !*h.Recovered, true)
		if *h.Offset >= said[0].offset {
			t.fail("got the offset %d, want one before %d", *h.Offset, said[0].offset)
		}
		c.replays(said)
	}},
	{"history: between replay and live is no gap and no double", false, each, func(t *try, kind string) {
		writer, ref, all := t.some(3)
		ctx, stop := context.WithCancel(t.ctx)
		var writing sync.WaitGroup
		writing.Go(func() {
			_ = t.attempt(func() { // the readers notice what is missing
				for ; ctx.Err() == nil; t.pause(time.Millisecond) {
					all = append(all, writer.say(ref, t.topic))
				}
			})
		})
		defer writing.Wait()
		defer stop()
		began, got := make([]uint64, 6), make([][]message, 6)
		ask := any(fields{"@last": 2})
		for i := range got {
			c := t.open(kind)
			_, h := c.join(t.topic, ask)
			for began[i] = *h.Offset; len(got[i]) < 8; {
				got[i] = append(got[i], t.messageOf(c.next()))
			}
			ask = position(h.Epoch, got[i][4].offset) // of which some are live and others not
		}
		stop()
		writing.Wait()
		for i, messages := range got {
			after := slices.DeleteFunc(slices.Clone(all), func(m message) bool { return m.offset <= began[i] })
			want(t, fmt.Sprintf("messages after %d", began[i]), fmt.Sprint(messages), fmt.Sprint(after[:min(len(messages), len(after))]))
		}
	}},
}

var postChecks = []check{
	{"POST: a batch that comes again, or overlaps, is applied once", false, once, func(t *try, _ string) {
		c := t.open(onStream)
		c.posts(batch(1, 0), 200, `{"applied":0,"sent":0}`)
		ref, _ := c.join(t.topic, fields{})
		c.posts(batch(2, 1), 200, `{"applied":1,"sent":`)
		one, two := encode(ref, "one", t.topic, t.Event, t.marked("1")), encode(ref, "two", t.topic, t.Event, t.marked("2"))
		for _, frames := range [][]string{{one}, {one}, {one, two}, {one, two}} {
			c.posts(batch(2, 1, frames...), 200, fmt.Sprintf(`"applied":%d,`, 1+len(frames)))
		}
		c.sent = 3
		for _, mark := range []string{"1", "2"} {
			want(t, "message", t.messageOf(c.next()).mark, mark)
			want(t, "reply", c.decode(c.next()).Status, "ok")
		}
		c.say(ref, t.topic)
	}},
	{"POST: a gap is 409 with the number that is wanted", false, once, func(t *try, _ string) {
		c := t.open(onStream)
		c.posts(batch(3, 0, encode("1", "1", t.topic, "phx_join", fields{})), 409, `{"want":1}`)
		c.join(t.topic, fields{})
	}},
	{"POST: what is no batch is 400, and nothing of it applied", false, once, func(t *try, _ string) {
		c := t.open(onStream)
		join := encode("1", "1", t.topic, "phx_join", fields{})
		large := encode("1", "1", t.topic, "phx_join", fields{"x": strings.Repeat("x", c.hello.Limits["message_bytes"])})
		for _, bad := range []struct {
			body  string
			frame int
		}{
			{`{`, 0},
			{`[]`, 0},
			{`{"received":0,"frames":[]}`, 0},
			{batch(0, 0, join), 0},
			{batch(1, 99, join), 0},
			{batch(1, 0, slices.Repeat([]string{`["1",null,"t","e",{}]`}, c.hello.Limits["batch_messages"]+1)...), 0},
			{batch(1, 0, join, `["1"]`), 2},
			{batch(1, 0, join, `["1",2,"t","e",{}]`, join), 2},
			{batch(1, 0, large), 1},
		} {
			c.posts(bad.body, 400, fmt.Sprintf(`"frame":%d,`, bad.frame))
		}
		t.answered(400, `{"frame":0,`, "POST", "sse", batch(1, 0, join)) // without a secret
		c.join(t.topic, fields{})
	}},
	{"POST: one over batch_bytes is 413", false, once, func(t *try, _ string) {
		c := t.open(onStream)
		c.posts(batch(1, 0)+strings.Repeat(" ", c.hello.Limits["batch_bytes"]), 413, "")
		c.join(t.topic, fields{})
	}},
	{"POST: a secret that is unknown, or of a WebSocket, is 410", false, once, func(t *try, _ string) {
		c := t.open(onWebSocket)
		c.join(t.topic, fields{})
		c.posts(batch(1, 0), 410, "")
		stream := t.open(onStream)
		stream.hello.Secret = strings.Repeat("x", 32)
		stream.posts(batch(1, 0), 410, "")
	}},
	{"bye: is 204 whatever the secret, and ends the client socket", false, each, func(t *try, kind string) {
		c := t.open(kind)
		c.join(t.topic, fields{})
		for _, secret := range []string{"", "unknown", c.hello.Secret} {
			t.answered(204, "", "POST", "bye", secret, "Content-Type", "text/plain")
		}
		c.ends(1000)
		t.over(kind, c.hello.Secret)
		if kind == onStream {
			c.posts(batch(2, 1), 410, "")
		}
	}},
}

var timedChecks = []check{
	{"heartbeats: come with both numbers when nothing else does", true, each, func(t *try, kind string) {
		c := t.open(kind)
		c.join(t.topic, fields{})
		f, _ := c.read(c.hello.heartbeat() + wait)
		want(t, "next frame", f.event+string(f.payload), fmt.Sprintf(`heartbeat{"sent":%d,"received":1}`, c.received))
	}},
	{"heartbeats: come in a busy room to a client that acknowledges nothing", true, each, func(t *try, kind string) {
		writer, ref, _ := t.some(0)
		c := t.open(kind)
		c.join(t.topic, fields{"@last": 0})
		for start := time.Now(); ; t.pause(time.Second) {
			m := writer.say(ref, t.topic)
			f, _ := c.read(wait)
			if f.event == "heartbeat" {
				return
			}
			want(t, "message", t.messageOf(f), m)
			if took := time.Since(start); took > c.hello.heartbeat()+wait {
				t.fail("no heartbeat came in %v", took)
			}
		}
	}},
	{"silence: a connection on which heartbeats are answered stays", true, each, func(t *try, kind string) {
		c := t.open(kind)
		c.join(t.topic, fields{})
		for range 4 {
			f, _ := c.read(c.hello.heartbeat() + wait)
			want(t, "next frame", f.event, "heartbeat")
			c.acknowledges()
		}
		c.probes("still")
	}},
	{"silence: a connection without an answer ends, and is resumed", true, each, func(t *try, kind string) {
		c := t.open(kind)
		c.join(t.topic, fields{})
		start := time.Now()
		c.endsAlone(c.hello.silence()+wait, 0, "")
		if took := time.Since(start); took < c.hello.silence()-time.Second {
			t.fail("it ended after %v, want %v", took, c.hello.silence())
		}
		if *c.hello.GraceMS > 0 {
			c.resumes(kind)
		}
	}},
	{"silence: a stream ends on which nothing more is acknowledged, whatever is POSTed", true, once, func(t *try, _ string) {
		c := t.open(onStream)
		ref, _ := c.join(t.topic, fields{})
		c.send(encode(ref, nil, t.topic, t.Event, t.marked("x"))) // and has received the reply alone
		for start := time.Now(); !c.ended; c.read(wait) {
			if took := time.Since(start); took > c.hello.silence()+wait {
				t.fail("it goes on after %v, want its end after %v", took, c.hello.silence())
			}
			c.posts(batch(c.sent+1, 1), 200, "")
		}
		want(t, "code of the end", c.code, 0)
	}},
	{"resume: a connection that is not promoted ends with 4001 not used", true, each, func(t *try, kind string) {
		c, _ := t.lasting(kind)
		c.resumes(kind).endsAlone(10*time.Second+wait, 4001, "not used")
		c.probes("still")
	}},
	{"resume: after the grace period the client socket has ended", true, each, func(t *try, kind string) {
		c, _ := t.lasting(kind)
		c.abort()
		t.pause(time.Duration(*c.hello.GraceMS)*time.Millisecond + 2*time.Second)
		t.over(kind, c.hello.Secret)
	}},
}
