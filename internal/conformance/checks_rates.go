package conformance

import (
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// mostJoins is how many joins at once are tried: a server that answers them all has no
// rate, or one of which this cannot tell.
const mostJoins = 4000

var rateChecks = []check{
	{"rates: a join beyond the rate is answered with rate_limited, and nothing else happens", false, each, func(t *try, kind string) {
		c := t.open(kind)
		ref, _ := c.join(t.topic, fields{"@last": 0})
		refused := c.joinsTooOften()
		want(t, "join_ref of the reply", refused.joinRef, refused.ref)
		want(t, "status of a leave beyond the rate", c.ask(nil, t.topic+"-2", "phx_leave", fields{}).Status, "ok")
		c.probes("still")
		for start := time.Now(); ; t.pause(100 * time.Millisecond) {
			r := c.ask("again", t.topic+"-3", "phx_join", fields{"@last": 0})
			if r.Status == "ok" {
				break
			}
			want(t, "reason of a join beyond the rate", r.Response.Reason, "rate_limited")
			if took := time.Since(start); took > wait {
				t.fail("no join is let in %v after the last", took)
			}
		}
		c.say(ref, t.topic)
	}},
	{"rates: a client that goes on regardless is ended with 1008", false, each, func(t *try, kind string) {
		c := t.open(kind)
		c.joinsTooOften()
		for sent := 0; !c.ended; {
			if sent > mostJoins {
				t.fail("it goes on after %d joins more", sent)
			}
			frames := c.joins()
			sent += len(frames)
			c.floods(frames)
			for more := true; more; {
				_, more = c.read(10 * time.Millisecond)
			}
		}
		want(t, "code of the end", c.code, 1008)
		t.over(kind, c.hello.Secret)
	}},
}

// joins are as many joins of a topic that there is not as go into one POST.
func (c *conn) joins() []string {
	frames := make([]string, min(50, c.hello.Limits["batch_messages"]))
	for i := range frames {
		ref := c.t.ref()
		frames[i] = encode(ref, ref, "nobody-serves-this:1", "phx_join", fields{})
	}
	return frames
}

// joinsTooOften joins until that is refused, and returns the last reply.
func (c *conn) joinsTooOften() (last reply) {
	for sent := 0; sent < mostJoins; {
		frames := c.joins()
		c.send(frames...)
		for range frames {
			last = c.decode(c.next())
			if reason := last.Response.Reason; last.Status != "error" || reason != "unmatched topic" && reason != "rate_limited" {
				c.t.fail("got %s, want the error unmatched topic or rate_limited", last.frame)
			}
		}
		if last.Response.Reason == "rate_limited" {
			return last
		}
		sent += len(frames)
	}
	c.t.fail("%w: %d joins at once are let in", ErrSkipped, mostJoins)
	return
}

// floods sends frames to a connection that may end meanwhile.
func (c *conn) floods(frames []string) {
	if c.kind != onStream {
		for _, text := range frames {
			_ = c.ws.Write(c.t.ctx, websocket.MessageText, []byte(text))
		}
		return
	}
	res, err := c.t.http.Do(c.t.request(c.t.ctx, http.MethodPost, "sse", batch(c.sent+1, c.received, frames...), "Chime-Secret", c.hello.Secret))
	if err == nil {
		_ = res.Body.Close()
		c.sent += uint64(len(frames))
	}
}
