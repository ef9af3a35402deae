package conformance

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// checks are the sentences of docs/protocol.md, in its order.
var checks = slices.Concat(requestChecks, frameChecks, historyChecks, postChecks, resumeChecks, endChecks, timedChecks, cutChecks)

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
		for _, r := range []struct {
			method, path string
			status       int
		}{{"GET", "nothing-here", 404}, {"DELETE", "sse", 405}, {"GET", "websocket", 400}} {
			status, _, _, err := t.do(r.method, r.path, "")
			if err != nil || status != r.status {
				t.fail("%s %s: got %d %v, want %d", r.method, r.path, status, err, r.status)
			}
		}
	}},
	{"origin: a foreign page is refused", false, each, func(t *try, kind string) {
		for _, origin := range []string{"https://evil.example", "null"} {
			_, err := t.dial(kind, "", 0, "Origin", origin)
			t.refusal(http.StatusForbidden, err)
		}
		_, err := t.dial(kind, "", 0, "Sec-Fetch-Site", "cross-site")
		t.refusal(http.StatusForbidden, err)
		for _, path := range []string{"sse", "bye"} {
			status, _, _, err := t.do("POST", path, "", "Origin", "https://evil.example")
			if err != nil || status != http.StatusForbidden {
				t.fail("POST %s: got %d %v, want 403", path, status, err)
			}
		}
	}},
	{"origin: its own page is let in", false, each, func(t *try, kind string) {
		_ = must[*conn](t, "open")(t.dial(kind, "", 0, "Origin", t.base.Scheme+"://"+t.base.Host))
	}},
}

var frameChecks = []check{
	{"frames: join, event, broadcast, reply, leave", false, each, func(t *try, kind string) {
		c := t.open(kind)
		ref, _ := c.join(t.topic, fields{})
		c.say(ref, t.topic)
		c.send(encode(ref, nil, t.topic, t.Event, t.marked("x"))) // without a ref there is no reply
		want(t, "broadcast of a frame without a ref", t.messageOf(c.next()).mark, "x")
		r := c.ask(ref, t.topic, "phx_leave", fields{})
		want(t, "status of the leave", r.status+r.joinRef, "ok"+ref)
		f := c.next()
		want(t, "frame behind the leave", f.event+f.ref+f.joinRef, "phx_close"+ref+ref)
		c.fails(ref, t.topic, t.Event, t.marked("x"), "unmatched topic", "")
		want(t, "leave of a topic that is not joined", c.ask(nil, t.topic, "phx_leave", fields{}).status, "ok")
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
		want(t, "status", t.replyOf(c.next()).status, "ok")
	}},
	{"frames: the topic phoenix answers heartbeats, and is not counted", false, each, func(t *try, kind string) {
		c := t.open(kind)
		r := c.ask(nil, "phoenix", "heartbeat", fields{})
		want(t, "answer", r.status+r.joinRef, "ok")
		want(t, "counted", c.received+c.sent, 0)
		c.join(t.topic, fields{})
	}},
	{"frames: a binary message is a push", false, once, func(t *try, _ string) {
		c := t.open(onWebSocket)
		ref, _ := c.join(t.topic, fields{})
		data := append([]byte{0, byte(len(ref)), 1, byte(len(t.topic)), byte(len(t.Event))}, ref+"b"+t.topic+t.Event+"\x00\xff"...)
		if err := c.ws.Write(t.ctx, websocket.MessageBinary, data); err != nil {
			t.fail("send: %w", err)
		}
		for {
			if f := c.next(); f.event == "phx_reply" {
				want(t, "ref of the reply", f.ref, "b")
				return
			}
		}
	}},
	{"frames: probe is answered", false, each, func(t *try, kind string) { t.open(kind).answers("n1") }},
	{"limits: topics of the hello", false, each, func(t *try, kind string) {
		c := t.open(kind)
		for i := range c.hello.Limits.Topics {
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
			ref, h := c.join(t.topic, position(first.Epoch, m.offset))
			want(t, "epoch", h.Epoch, first.Epoch)
			want(t, "recovered", h.Recovered != nil && *h.Recovered, true)
			want(t, "offset", *h.Offset, m.offset)
			c.replays(said[i+1:])
			want(t, "end of the former join", c.next().event, "phx_close")
			want(t, "reply to an event", c.ask(ref, t.topic, "phx_anything", fields{}).reason, "invalid event")
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
			defer func() { _ = recover() }() // the readers notice what is missing
			for ; ctx.Err() == nil; t.pause(time.Millisecond) {
				all = append(all, writer.say(ref, t.topic))
			}
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
		ref, _ := c.join(t.topic, fields{})
		one, two := encode(ref, "one", t.topic, t.Event, t.marked("1")), encode(ref, "two", t.topic, t.Event, t.marked("2"))
		for _, frames := range [][]string{{one}, {one}, {one, two}, {one, two}} {
			c.refuses(batch(2, 1, frames...), http.StatusOK, fmt.Sprintf(`"applied":%d,`, 1+len(frames)))
		}
		c.sent = 3
		for _, mark := range []string{"1", "2"} {
			want(t, "message", t.messageOf(c.next()).mark, mark)
			want(t, "reply", t.replyOf(c.next()).status, "ok")
		}
		c.say(ref, t.topic)
	}},
	{"POST: one without frames acknowledges", false, once, func(t *try, _ string) {
		c := t.open(onStream)
		c.join(t.topic, fields{})
		c.refuses(batch(2, 1), http.StatusOK, `{"applied":1,"sent":1}`)
	}},
	{"POST: a gap is 409 with the number that is wanted", false, once, func(t *try, _ string) {
		c := t.open(onStream)
		c.refuses(batch(3, 0, encode("1", "1", t.topic, "phx_join", fields{})), http.StatusConflict, `{"want":1}`)
		c.join(t.topic, fields{})
	}},
	{"POST: what is no batch is 400, and nothing of it applied", false, once, func(t *try, _ string) {
		c := t.open(onStream)
		join := encode("1", "1", t.topic, "phx_join", fields{})
		large := encode("1", "1", t.topic, "phx_join", fields{"x": strings.Repeat("x", c.hello.Limits.MessageBytes)})
		for _, bad := range []struct {
			body  string
			frame int
		}{
			{`{`, 0},
			{`[]`, 0},
			{`{"received":0,"frames":[]}`, 0},
			{batch(0, 0, join), 0},
			{batch(1, 99, join), 0},
			{batch(1, 0, slices.Repeat([]string{`["1",null,"t","e",{}]`}, c.hello.Limits.BatchMessages+1)...), 0},
			{batch(1, 0, join, `["1"]`), 2},
			{batch(1, 0, join, `["1",2,"t","e",{}]`, join), 2},
			{batch(1, 0, large), 1},
		} {
			c.refuses(bad.body, http.StatusBadRequest, fmt.Sprintf(`"frame":%d,`, bad.frame))
		}
		status, body, _, err := t.do("POST", "sse", batch(1, 0, join))
		if err != nil || status != http.StatusBadRequest || !strings.Contains(body, `"frame":0`) {
			t.fail("POST without a secret: got %d %s %v, want 400 of frame 0", status, body, err)
		}
		c.join(t.topic, fields{})
	}},
	{"POST: one over batch_bytes is 413", false, once, func(t *try, _ string) {
		c := t.open(onStream)
		c.refuses(batch(1, 0)+strings.Repeat(" ", c.hello.Limits.BatchBytes), http.StatusRequestEntityTooLarge, "")
		c.join(t.topic, fields{})
	}},
	{"POST: a secret that is unknown, or of a WebSocket, is 410", false, once, func(t *try, _ string) {
		c := t.open(onWebSocket)
		c.join(t.topic, fields{})
		c.refuses(batch(1, 0), http.StatusGone, "")
		stream := t.open(onStream)
		stream.hello.Secret = strings.Repeat("x", 32)
		stream.refuses(batch(1, 0), http.StatusGone, "")
	}},
	{"bye: is 204 whatever the secret, and ends the client socket", false, each, func(t *try, kind string) {
		c := t.open(kind)
		c.join(t.topic, fields{})
		for _, secret := range []string{"", "unknown", c.hello.Secret} {
			status, _, _, err := t.do("POST", "bye", secret, "Content-Type", "text/plain")
			if err != nil || status != http.StatusNoContent {
				t.fail("POST bye: got %d %v, want 204", status, err)
			}
		}
		code, _ := c.ends(t.Wait)
		want(t, "code of the end", code, 1000)
		t.over(kind, c.hello.Secret)
		if kind == onStream {
			c.refuses(batch(2, 1), http.StatusGone, "")
		}
	}},
}

var timedChecks = []check{
	{"heartbeats: come with both numbers when nothing else does", true, each, func(t *try, kind string) {
		c := t.open(kind)
		c.join(t.topic, fields{})
		f, err := c.any(c.hello.heartbeat() + t.Wait)
		if err != nil || f.event != "heartbeat" || string(f.payload) != `{"sent":1,"received":1}` {
			t.fail("got %s %v, want a heartbeat with sent 1 and received 1", f, err)
		}
	}},
	{"silence: a WebSocket without an answer ends, and is resumed", true, once, func(t *try, _ string) {
		c := t.open(onWebSocket)
		c.join(t.topic, fields{})
		start := time.Now()
		silence := 2*c.hello.heartbeat() + 5*time.Second
		code, _ := c.ends(silence + t.Wait)
		want(t, "code", code, 0)
		if took := time.Since(start); took < silence-time.Second {
			t.fail("it ended after %v, want %v", took, silence)
		}
		if c.hello.grace() > 0 {
			t.resume(onWebSocket, c.hello.Secret, c.received)
		}
	}},
	{"resume: a connection that is not promoted ends with 4001 not used", true, each, func(t *try, kind string) {
		c, _ := t.lasting(kind)
		again := t.resume(kind, c.hello.Secret, c.received)
		code, why := again.ends(10*time.Second + t.Wait)
		want(t, "end", fmt.Sprint(code, why), "4001not used")
		c.answers("still")
	}},
	{"resume: after the grace period the client socket has ended", true, each, func(t *try, kind string) {
		c, _ := t.lasting(kind)
		t.proxy.cutAll()
		t.pause(c.hello.grace() + 2*time.Second)
		t.over(kind, c.hello.Secret)
	}},
}
