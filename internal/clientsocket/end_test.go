package clientsocket

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// ends is a receiver that takes note of the reasons it is given.
type ends struct {
	deaf
	reasons chan transport.Reason
}

func (ends) Finish(time.Duration) <-chan struct{} { return nil }
func (e ends) Closed(why transport.Reason)        { e.reasons <- why }

// slowEnd is a connection of a client that is slow. The end of its client socket
// waits in front of the receiver until it is free.
type slowEnd struct {
	taking
	free chan struct{}
}

func (l *slowEnd) BoundWrites(d time.Duration) {
	if d == closeWait {
		<-l.free
	}
}

// A client socket that was slow ends again, in another way, before its receiver has
// been told: HandleLeave must get the reason for which it ended.
func TestTheFirstReasonOfAnEndCounts(t *testing.T) {
	for name, again := range map[string]func(*ClientSocket, *Connection){
		"disconnected":         func(c *ClientSocket, _ *Connection) { c.Close(wire.CloseDisconnect, "", transport.Kicked) },
		"goodbye":              func(c *ClientSocket, _ *Connection) { c.Bye() },
		"closed by the server": func(_ *ClientSocket, n *Connection) { n.Close(wire.CloseUndecodable, "") },
		"closed by the client": func(_ *ClientSocket, n *Connection) { n.PeerClosed(wire.CloseNormal) },
		"aborted":              func(_ *ClientSocket, n *Connection) { n.Abort(transport.Vanished) },
		"disconnected and again": func(c *ClientSocket, n *Connection) {
			c.Bye()
			n.PeerClosed(wire.CloseNormal)
			n.Abort(transport.Vanished)
		},
	} {
		for _, speaks := range []stats.Dialect{stats.Chime, stats.PhoenixV2} {
			reasons := make(chan transport.Reason, 10)
			cs := clients(t, transport.Limits{QueueBytes: 1000}, func(transport.ClientSocket) transport.Receiver { return ends{reasons: reasons} })
			l := &slowEnd{free: make(chan struct{})}
			c, n := cs.open(t, l, Opening{Dialect: speaks})
			c.mu.Lock()
			n.out.writing, n.out.blocked = true, true // nobody takes what is in the queue
			c.mu.Unlock()
			err := c.Send(said(800), "")
			if slow := c.Send(said(800), ""); err != nil || !errors.Is(slow, transport.ErrSlow) {
				t.Fatalf("%s: got %v and %v, want none and %v", name, err, slow, transport.ErrSlow)
			}
			again(c, n)
			close(l.free)
			if err := cs.config.Tasks.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			close(reasons)
			var got []transport.Reason
			for why := range reasons {
				got = append(got, why)
			}
			if !slices.Equal(got, []transport.Reason{transport.Slow}) {
				t.Errorf("%s: the receiver is told of %q, want %q alone", name, got, transport.Slow)
			}
		}
	}
}
