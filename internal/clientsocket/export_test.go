package clientsocket

import (
	"github.com/go-chime/chime/internal/flush"
	"github.com/go-chime/chime/internal/mono"
)

// What benchmarks over a whole server do with a client socket.

// HoldBack keeps what is queued from the flusher's list: FlushNow writes it.
func (c *ClientSocket) HoldBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.carrier.out.listed = true
}

// FlushNow has f write what is queued.
func (c *ClientSocket) FlushNow(f *flush.Flusher, now mono.Instant) {
	c.out.carrier.out.Flush(f, now)
}

// Written reports whether all that is queued has been.
func (c *ClientSocket) Written() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.queue.Due() == 0 && !c.out.carrier.out.writing
}

// Keep says whether what is written stays until it is acknowledged.
func (c *ClientSocket) Keep(keeps bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keeps = keeps
}

// AcknowledgeAll does what the client does when it has read everything.
func (c *ClientSocket) AcknowledgeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.queue.Acknowledge(c.out.queue.Sent())
}
