package doctor

import (
	"bufio"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-chime/chime/transport"
)

// holdTime is how long a stream is waited for that a box holds back: longer than any that is
// known to let go of it before its end.
const holdTime = 25 * time.Second

// stream finds out whether one opens, when what is sent on it arrives, and whether POSTs
// belong to it.
func (x *exam) stream() {
	const about = transport.SSE
	x.wait("the header of a stream")
	c, h := x.openStream(holdTime)
	if c == nil {
		x.noStream(h)
		return
	}
	defer c.abort()
	x.note(about, "opens", "%s, header after %s", h, short(h.after))
	x.wait("what comes on a stream, up to %s", short(holdTime))
	greeted := c.greeted(holdTime)
	if !greeted {
		x.note(about, "server to client", "no: nothing in %s", short(holdTime))
		if coding := h.header.Get("Content-Encoding"); coding != "" && coding != "identity" {
			x.fault(streamCompressed, "a stream comes compressed (%s), and nothing of it in %s", coding, short(holdTime))
		} else {
			x.fault(streamDelayed, "the header of a stream comes after %s, and nothing of it in %s: it is held back until a buffer is full, or until it ends", short(h.after), short(holdTime))
		}
		return
	}
	late := c.hello.at.Sub(c.opened) - h.after
	x.note(about, "server to client", "hello %s after the header", short(late))
	if late > belated {
		if second, ok := c.next(patience); ok && second.at.Sub(c.hello.at) < together {
			x.fault(streamFirstDelayed, "the first part of a stream comes only with the second, %s late", short(late))
		} else {
			x.fault(streamLate, "what is sent on a stream comes %s late", short(late))
			return
		}
	}
	c.next(settled) // what comes at once may pass, and later things not
	if x.proves(c) {
		x.carries(about)
		x.posts(c)
		c.bye()
		return
	}
	x.note(about, "goes on", "no: nothing behind hello in %s", short(patience))
	c.bye()
	until := ""
	if _, ok := c.next(patience); ok {
		until = "; it came when the stream had ended"
	}
	x.fault(streamRestDelayed, "hello comes on a stream, and nothing that is sent later%s", until)
}

const (
	belated  = 50 * time.Millisecond // hello leaves the server with the header
	together = 20 * time.Millisecond // parts that a box passes on at one time
	settled  = 300 * time.Millisecond
)

// noStream names why there is none.
func (x *exam) noStream(h head) {
	x.note(transport.SSE, "opens", "no: %s", h)
	switch {
	case h.err != nil && h.after >= holdTime:
		x.fault(answersDelayed, "not even the header of a stream came in %s: answers are held back until a buffer is full, or until they end", short(holdTime))
	case h.err != nil:
		x.fault(streamRefused, "a request for a stream has no answer: %s", plain(h.err))
	case h.status == http.StatusBadRequest && strings.Contains(h.body, "Chime-Received"):
		x.fault(headersStripped, "the server is asked for a stream without the header Chime-Received, which was sent")
	default:
		x.fault(streamRefused, "a request for a stream is answered with %s", h)
	}
}

// openStream waits for the header of the answer, and returns nil where it is no stream.
func (s *site) openStream(wait time.Duration) (*conn, head) {
	ctx, cancel := context.WithCancel(s.ctx)
	timer := time.AfterFunc(wait, cancel)
	start := time.Now()
	res, err := s.client(false).Do(s.request(ctx, http.MethodGet, "sse", "", "Chime-Received", "0", "Accept-Encoding", "gzip"))
	timer.Stop()
	if err != nil {
		late := ctx.Err() != nil
		cancel()
		if late {
			err = context.DeadlineExceeded
		}
		return nil, head{err: err, after: time.Since(start)}
	}
	h := head{status: res.StatusCode, header: res.Header, proto: res.Proto, after: time.Since(start)}
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		defer cancel()
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		h.body = string(text)
		return nil, h
	}
	c := s.newConn(transport.SSE)
	c.opened, c.head, c.abort = start, h, cancel
	posts := s.client(false)
	c.say = func(frames ...string) head { return c.post(posts, "sse", frames) }
	s.working.Go(func() {
		defer c.end()
		defer cancel()
		defer res.Body.Close()
		c.readStream(res)
	})
	return c, h
}

func (c *conn) readStream(res *http.Response) {
	body := io.Reader(res.Body)
	if res.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(res.Body)
		if err != nil {
			return
		}
		body = unzipped
	}
	for lines := bufio.NewReader(body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, ":") {
			c.hear(frame{})
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			if f, ok := parse([]byte(text)); ok {
				c.hear(f)
			}
		}
	}
}
