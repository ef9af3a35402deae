package chaos

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chime/chime/store"
)

// bare is a reader of an event stream, such as EventSource: it comes back with the id
// of the last event.
type bare struct {
	peer
	id string // guarded by mu
}

func (c *bare) live() {
	for {
		conn, err := c.open()
		if err == nil {
			err = c.read(conn, c.receive)
		}
		c.stage.ended(&c.peer, err)
		if !c.rest() {
			return
		}
	}
}

// open connects, and joins what the client is always in.
func (c *bare) open() (*connection, error) {
	c.mu.Lock()
	query := url.Values{"join": c.stays, "last": {"0"}}
	var head []string
	if c.id != "" {
		head = []string{"Last-Event-ID", c.id}
	}
	epoch, offsets, _ := strings.Cut(c.id, ":")
	at := append(strings.Split(offsets, ","), make([]string, len(c.stays))...)
	for i, topic := range c.stays {
		c.joins[topic].ref, c.joins[topic].since = strconv.Itoa(i+1), nil
		if n, err := strconv.ParseUint(at[i], 10, 64); err == nil {
			c.joins[topic].since = &store.Position{Epoch: epoch, Offset: n}
		}
	}
	c.mu.Unlock()
	conn, err := c.dialStream("/socket/sse?"+query.Encode(), head...)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	return conn, nil
}

func (c *bare) receive(f frame) {
	if f.id != "" {
		c.id = f.id
	}
	if f.topic != "chime" {
		c.take(f)
	}
	if c.conn != nil && slices.ContainsFunc(c.stays, c.isOut) { // it can join by another connection only
		c.conn.cut()
	}
}

func (c *bare) act() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.dice.one(12) {
		c.conn.cut()
	}
}

func (c *bare) isDone() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return errors.New("has no connection")
	}
	return c.missing()
}

func (c *bare) leave() {
	close(c.stopped)
	c.mu.Lock()
	if c.conn != nil {
		c.conn.cut()
	}
	c.mu.Unlock()
	c.working.Wait()
}
