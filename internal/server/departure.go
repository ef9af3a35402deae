package server

import (
	"context"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
)

// departure is that of one client from a server that shuts down: it stays until what it has
// asked for is answered, for as long as there is patience.
type departure struct {
	client   *clientsocket.ClientSocket
	began    time.Time
	patience time.Duration
	handlers time.Duration // how long handlers have before their contexts end, if that is less than always
	farewell time.Duration // how long it may take to be told of its end
}

// begin ends the client, and returns nil, if all has been answered or there is no patience.
// Else it returns what is closed when it may be so.
func (d *departure) begin() <-chan struct{} {
	if d.patience <= 0 {
		d.drain()
		return nil
	}
	return d.client.Finish(d.handlers, comeBack().Milliseconds(), d.left())
}

// drain ends the client as it is. Each is told a time of its own.
func (d *departure) drain() { d.client.Drain(comeBack().Milliseconds(), d.left()) }

// left is how long the client may take to read what it is told. One that has waited
// for answers has less, or a drain would take longer than it was to.
func (d *departure) left() time.Duration { return max(d.farewell-time.Since(d.began), d.farewell/2) }

// wait ends the client when all has been answered, or its patience or ctx is over.
func (d *departure) wait(ctx context.Context, answered <-chan struct{}) {
	timer := time.NewTimer(d.patience)
	defer timer.Stop()
	for answered != nil {
		select {
		case <-answered:
			answered = d.begin()
		case <-timer.C:
			d.drain()
			return
		case <-ctx.Done():
			d.drain()
			return
		}
	}
}
