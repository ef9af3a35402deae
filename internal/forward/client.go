package forward

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// farewell is how long a client may take to read what is left when its request is ended.
const farewell = time.Second

// client is the connection of a client whose request is forwarded. What is written to it
// is bounded: of one that reads no more nothing else would say so, since the other node
// only sees that this one does not read.
type client struct {
	http.ResponseWriter
	stuckFor time.Duration // how long a write may block
	call     *call

	mu       sync.Mutex // guards what follows, and when writes are due
	set      func(time.Time) error
	end      time.Time // no write may block longer; zero: each has its time
	returned bool      // the handler has returned: its writer must not be touched
}

func newClient(w http.ResponseWriter, stuckFor time.Duration, c *call) *client {
	return &client{ResponseWriter: w, stuckFor: stuckFor, call: c, set: http.NewResponseController(w).SetWriteDeadline}
}

// Unwrap is for http.ResponseController.
func (c *client) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Write implements http.ResponseWriter. If p is all that there was room for, what comes behind
// it is written too.
func (c *client) Write(p []byte) (int, error) {
	n, err := c.write(p)
	if err == nil && len(p) == smallBuffer && c.call.body != nil {
		err = c.call.body.pour(flushing{c})
	}
	return n, err
}

func (c *client) write(p []byte) (int, error) {
	c.arm()
	defer c.disarm()
	return c.ResponseWriter.Write(p)
}

// flushing is a client to which all is written at once.
type flushing struct{ *client }

// Write implements io.Writer.
func (c flushing) Write(p []byte) (int, error) {
	n, err := c.write(p)
	if err == nil {
		err = c.FlushError()
	}
	return n, err
}

// FlushError is for http.ResponseController.
func (c *client) FlushError() error {
	c.arm()
	defer c.disarm()
	return http.NewResponseController(c.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (c *client) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if err != nil {
		return conn, rw, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = conn.SetWriteDeadline
	if !c.end.IsZero() { // net/http has taken that away
		_ = c.set(c.end)
	}
	return &upgraded{conn, c}, rw, nil
}

// arm bounds a write that begins now.
func (c *client) arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := time.Now().Add(c.stuckFor)
	if !c.end.IsZero() && c.end.Before(due) {
		due = c.end
	}
	_ = c.set(due) // not all writers can
}

// disarm leaves no deadline behind: on HTTP/2 it would end a stream that is only quiet.
func (c *client) disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end.IsZero() {
		_ = c.set(time.Time{})
	}
}

// cut bounds all that is still written.
func (c *client) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.returned {
		c.end = time.Now().Add(farewell)
		_ = c.set(c.end)
	}
}

// leave is called before the handler returns. Net/http may have something left to write.
func (c *client) leave() {
	c.arm()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returned = true
}

// upgraded is the connection of a client after an upgrade.
type upgraded struct {
	net.Conn
	client *client
}

// Write implements net.Conn.
func (u *upgraded) Write(p []byte) (int, error) {
	u.client.arm()
	defer u.client.disarm()
	return u.Conn.Write(p)
}

// ReadFrom implements io.ReaderFrom: what is sent to the client.
func (u *upgraded) ReadFrom(other io.Reader) (int64, error) { return carry(u, other) }

// WriteTo implements io.WriterTo: what the client sends.
func (u *upgraded) WriteTo(other io.Writer) (int64, error) { return carry(other, u.Conn) }
