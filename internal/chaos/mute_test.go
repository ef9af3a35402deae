package chaos

import "strings"

// mute is a client that joins its topics and then never reads.
type mute struct {
	peer
	conn *connection // guarded by mu; nil without
}

const muteName, publisherName = "mute ", "publisher "

func isMute(name string) bool      { return strings.HasPrefix(name, muteName) }
func isPublisher(name string) bool { return strings.HasPrefix(name, publisherName) }

func (c *mute) live() {
	conn, err := c.dialSocket(c.dialect.path)
	if err != nil {
		return
	}
	c.drop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn = conn; c.isStopped() {
		conn.drop()
	}
	for _, text := range c.wanted() {
		conn.write(text)
	}
}

func (c *mute) act()          {}
func (c *mute) isDone() error { return nil }

func (c *mute) leave() {
	close(c.stopped)
	c.drop()
	c.working.Wait()
}

func (c *mute) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.drop()
	}
}
