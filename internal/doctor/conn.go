package doctor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// frame is one frame of the server, of the topic chime, or a comment of a stream, which
// has no event.
type frame struct {
	event   string
	payload struct {
		Secret     string   `json:"secret"`
		Heartbeat  int      `json:"heartbeat_ms"`
		Transports []string `json:"transports"`
		Nonce      string   `json:"nonce"`
	}
	at time.Time
}

func parse(text []byte) (f frame, ok bool) {
	var topic string
	elements := []any{nil, nil, &topic, &f.event, &f.payload}
	return f, json.Unmarshal(text, &elements) == nil && topic == "chime"
}

// conn is a connection, of whatever transport.
type conn struct {
	site   *site
	kind   string
	opened time.Time
	head   head // of the answer that opened it
	in     chan frame
	abort  func()
	say    func(frames ...string) head // sends frames: in a POST, or on the WebSocket, which has no answer
	hello  frame

	mu    sync.Mutex
	heard time.Time // when something came last
	ended time.Time // zero while it is open
}

func (s *site) newConn(kind string) *conn {
	now := time.Now()
	return &conn{site: s, kind: kind, opened: now, heard: now, in: make(chan frame, 1000)}
}

func (c *conn) hear(f frame) {
	f.at = time.Now()
	c.mu.Lock()
	c.heard = f.at
	c.mu.Unlock()
	select {
	case c.in <- f:
	case <-c.site.ctx.Done():
	}
}

func (c *conn) end() {
	c.mu.Lock()
	c.ended = time.Now()
	c.mu.Unlock()
	close(c.in)
}

// next returns the next frame. It reports false at the end, and if none comes in time.
func (c *conn) next(wait time.Duration) (frame, bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case f, ok := <-c.in:
		return f, ok
	case <-timer.C:
		return frame{}, false
	}
}

// await returns the next frame with an event and a nonce, and drops those before.
func (c *conn) await(event, nonce string, wait time.Duration) (frame, bool) {
	for end := time.Now().Add(wait); ; {
		f, ok := c.next(time.Until(end))
		if !ok || f.event == event && f.payload.Nonce == nonce {
			return f, ok
		}
	}
}

// greeted waits for the hello, and takes from it what it says.
func (c *conn) greeted(wait time.Duration) bool {
	f, ok := c.await("hello", "", wait)
	if ok {
		c.hello = f
		c.site.transports = f.payload.Transports
	}
	return ok
}

// age is that at its end, or up to now.
func (c *conn) age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.IsZero() {
		return time.Since(c.opened)
	}
	return c.ended.Sub(c.opened)
}

func (c *conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended.IsZero()
}

func probe(nonce string) string {
	return fmt.Sprintf(`[null,null,"chime","probe",{"nonce":%q}]`, nonce)
}

const ack = `[null,null,"chime","ack",{"received":0}]`

// post sends frames as a client on a stream or on polls does.
func (c *conn) post(client *http.Client, path string, frames []string) head {
	body := fmt.Sprintf(`{"first":1,"received":0,"frames":[%s]}`, strings.Join(frames, ","))
	return c.site.ask(client, http.MethodPost, path, body, "Chime-Secret", c.hello.payload.Secret, "Content-Type", "application/json")
}

// bye ends the client socket.
func (c *conn) bye() {
	if secret := c.hello.payload.Secret; secret != "" {
		c.site.ask(c.site.client(false), http.MethodPost, "bye", secret, "Content-Type", "text/plain")
	}
}
