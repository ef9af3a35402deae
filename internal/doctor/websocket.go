package doctor

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime/transport"
)

// young is an age at which a WebSocket that worked has hardly begun.
const young = 2 * time.Second

// webSocket finds out whether one opens, carries both ways, and stays.
func (x *exam) webSocket() {
	const about = transport.WebSocket
	c, h := x.openWebSocket()
	if c == nil {
		x.note(about, "opens", "no: %s", h)
		if h.status == http.StatusBadRequest && strings.Contains(h.body, "upgrade the request") {
			x.fault(upgradeDropped, "the server is asked for a WebSocket without an upgrade: a box on the way drops that")
		} else {
			x.fault(upgradeRefused, "a request for a WebSocket is answered with %s", h)
		}
		return
	}
	defer c.abort()
	x.note(about, "opens", "yes")
	if !c.greeted(patience) {
		if !c.isOpen() {
			x.cutYoung(c)
			return
		}
		x.note(about, "server to client", "no: nothing in %s", short(patience))
		x.fault(webSocketDeaf, "a WebSocket opens, and nothing of what the server sends on it arrives")
		return
	}
	x.note(about, "server to client", "yes, hello after %s", short(c.hello.at.Sub(c.opened)))
	sent := time.Now()
	c.say(probe("both ways"))
	answer, ok := c.await("probe_ok", "both ways", patience)
	switch {
	case ok:
		x.note(about, "client to server", "yes, a probe is answered after %s", short(answer.at.Sub(sent)))
	case c.isOpen():
		x.note(about, "client to server", "no: a probe has no answer in %s", short(patience))
		x.fault(webSocketMute, "a WebSocket opens and hello comes, and nothing of what the client sends on it arrives")
		return
	}
	x.wait("whether a WebSocket outlives its first %s", short(young))
	for c.isOpen() && time.Since(c.opened) < young {
		c.next(young - time.Since(c.opened))
	}
	if !c.isOpen() {
		x.cutYoung(c)
		return
	}
	x.carries(about)
}

// cutYoung looks whether others end as young as c did.
func (x *exam) cutYoung(c *conn) {
	ages := []string{short(c.age())}
	for range 2 {
		again, h := x.openWebSocket()
		if again == nil {
			x.note(transport.WebSocket, "opens again", "no: %s", h)
			break
		}
		for again.isOpen() && time.Since(again.opened) < young {
			again.next(young - time.Since(again.opened))
		}
		again.abort()
		ages = append(ages, short(again.age()))
	}
	x.note(transport.WebSocket, "stays", "no: ended after %s", strings.Join(ages, ", "))
	x.fault(webSocketCutYoung, "WebSockets open, and end after %s", strings.Join(ages, ", "))
}

// openWebSocket returns nil where the answer is no WebSocket.
func (s *site) openWebSocket() (*conn, head) {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	r := s.request(ctx, http.MethodGet, "websocket", "")
	ws, res, err := websocket.Dial(ctx, r.URL.String(), &websocket.DialOptions{HTTPClient: s.client(true), HTTPHeader: r.Header, Subprotocols: []string{"chime.v1"}})
	if err != nil {
		h := head{err: err}
		if res != nil {
			defer res.Body.Close()
			text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)) // the library has read so much
			h = head{status: res.StatusCode, header: res.Header, proto: res.Proto, body: string(text)}
		}
		return nil, h
	}
	c := s.newConn(transport.WebSocket)
	c.head = head{status: res.StatusCode, header: res.Header, proto: res.Proto}
	c.abort = func() { _ = ws.CloseNow() }
	c.say = func(frames ...string) head {
		for _, text := range frames {
			if err := ws.Write(s.ctx, websocket.MessageText, []byte(text)); err != nil {
				return head{err: err}
			}
		}
		return head{status: http.StatusOK}
	}
	s.working.Go(func() {
		defer c.end()
		defer c.abort()
		for {
			_, text, err := ws.Read(s.ctx)
			if err != nil {
				return
			}
			if f, ok := parse(text); ok {
				c.hear(f)
			}
		}
	})
	return c, c.head
}
