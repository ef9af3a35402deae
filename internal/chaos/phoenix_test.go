package chaos

import (
	"errors"
	"fmt"

	"github.com/coder/websocket"
)

// phoenix is a client of Phoenix, of either version, or of Amber. When its connection
// ends so do its joins, and it joins again: from its positions, if it knows them.
type phoenix struct{ peer }

func (c *phoenix) live() {
	for {
		conn, err := c.dialSocket(c.dialect.path)
		if err == nil {
			c.mu.Lock()
			c.conn = conn
			for _, text := range c.wanted() {
				conn.write(text)
			}
			c.mu.Unlock()
			err = c.read(conn, c.take)
		}
		c.stage.ended(&c.peer, err)
		if !c.rest() {
			return
		}
	}
}

func (c *phoenix) act() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return
	}
	c.joinAgain()
	var text string
	switch c.dice.n(12) {
	case 0:
		c.conn.cut()
	case 1, 2:
		if c.dialect.answers { // or nobody knows what it is in
			text = c.roam()
		}
	default:
		text = c.say()
	}
	if text != "" {
		c.conn.write(text)
	}
}

// joinAgain joins what it wants to be in, and was refused. C.mu is held.
func (c *phoenix) joinAgain() {
	c.again(func(text string) { c.conn.write(text) })
}

func (c *phoenix) isDone() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return errors.New("has no connection")
	}
	c.joinAgain()
	return c.missing()
}

// missing says what a client that has a connection still waits for. P.mu is held.
func (p *peer) missing() error {
	for topic, j := range p.joins {
		switch {
		case j.leave != "", j.wants && !j.in:
			return fmt.Errorf("has no reply of %s", topic)
		case j.wants && !p.ledgers[topic].isAt(p.stage.top(topic)):
			return fmt.Errorf("is not at the top of %s", topic)
		}
	}
	if len(p.pushes) > 0 {
		return fmt.Errorf("has no reply to %d pushes: %v", len(p.pushes), p.pushes)
	}
	return nil
}

func (c *phoenix) leave() {
	close(c.stopped)
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		_ = conn.ws.Close(websocket.StatusNormalClosure, "")
	}
	c.working.Wait()
}
