package doctor

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/go-chime/chime/transport"
)

// poll finds out whether a client that polls is served.
func (x *exam) poll() {
	if !x.offers(transport.LongPoll) {
		x.note(transport.LongPoll, "opens", "not tried: the server does not offer it")
		return
	}
	c, h := x.openPoll()
	switch {
	case c == nil && h.status == http.StatusNotFound:
		x.note(transport.LongPoll, "opens", "not tried: the server does not offer it")
		return
	case c == nil:
		x.note(transport.LongPoll, "opens", "no: %s", h)
		if h.status == http.StatusBadRequest {
			x.fault(headersStripped, "the server is asked for a poll without the header Chime-Received, which was sent")
			return
		}
		x.fault(pollRefused, "a poll is answered with %s", h)
		return
	}
	defer c.abort()
	x.note(transport.LongPoll, "opens", "%s after %s", h, short(h.after))
	if x.proves(c) {
		x.carries(transport.LongPoll)
		if !x.works("sse") {
			x.posts(c)
		}
		x.hold(c)
	}
	c.bye()
}

// hold waits for the end of a poll for which there is nothing.
func (x *exam) hold(c *conn) {
	if x.Quick {
		return
	}
	x.wait("the end of a poll, up to %s", short(holdTime))
	start := time.Now()
	if f, ok := c.await("heartbeat", "", holdTime+patience); ok {
		x.note(transport.LongPoll, "held", "for %s", short(f.at.Sub(start)))
		return
	}
	x.note(transport.LongPoll, "held", "no answer in %s", short(time.Since(start)))
	x.fault(pollCut, "a poll for which there is nothing has no answer: it was cut after %s", short(c.age()))
}

// openPoll returns nil where the answer is no hello. Behind it the connection polls until
// it is aborted, or a poll fails.
func (s *site) openPoll() (*conn, head) {
	h := s.ask(s.client(false), http.MethodGet, "poll", "", "Chime-Received", "0")
	if h.err != nil || h.status != http.StatusOK {
		return nil, h
	}
	c := s.newConn(transport.LongPoll)
	c.head = h
	if c.take(h.body); !c.greeted(patience) {
		return nil, h
	}
	posts, polls := s.client(false), s.client(false)
	c.say = func(frames ...string) head { return c.post(posts, "poll", frames) }
	ctx, cancel := context.WithCancel(s.ctx)
	c.abort = cancel
	s.working.Go(func() {
		defer c.end()
		defer cancel()
		for {
			res, err := polls.Do(s.request(ctx, http.MethodGet, "poll", "", "Chime-Received", "0", "Chime-Secret", c.hello.payload.Secret))
			if err != nil {
				return
			}
			text, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != http.StatusOK {
				return
			}
			c.take(string(text))
		}
	})
	return c, h
}

// take hears the frames of a reply.
func (c *conn) take(body string) {
	var reply struct {
		Frames []json.RawMessage `json:"frames"`
	}
	_ = json.Unmarshal([]byte(body), &reply) // what is no reply has no frames
	for _, text := range reply.Frames {
		if f, ok := parse(text); ok {
			c.hear(f)
		}
	}
}
