package clientsocket

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// plain has messages look like their events, and a farewell like its reason.
type plain struct{ taking }

func (plain) Encode(b []byte, it queue.Item, _ uint64) ([]byte, bool) {
	return append(append(b, it.M.Event...), ' '), it.M.Event == "fatal"
}
func (plain) Farewell(b []byte, _ wire.CloseCode, reason string, _ bool) []byte {
	return append(b, reason...)
}

func event(name string) queue.Item {
	return queue.Item{M: wire.NewPush("room:1", name, []byte("{}"), 0)}
}

// TestWhatAnOutletTakes says what the next write holds, in the order of the bytes.
func TestWhatAnOutletTakes(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(c *ClientSocket, n *Connection)
		want string
		over bool
	}{
		{"nothing", func(*ClientSocket, *Connection) {}, "", false},
		{"control before the queue", func(c *ClientSocket, n *Connection) {
			c.out.queue.Push(event("queued"))
			n.sendControl(event("control").M)
		}, "control queued ", false},
		{"at the end, what is queued before the farewell", func(c *ClientSocket, n *Connection) {
			c.out.queue.Push(event("queued"))
			c.end(wire.CloseDisconnect, "bye", transport.Kicked)
			n.sendControl(event("late").M)
			n.out.close(wire.CloseReplaced, "second")
		}, "queued bye", true},
		{"closed alone, what is queued stays", func(c *ClientSocket, n *Connection) {
			c.out.queue.Push(event("queued"))
			c.out.carrier = nil
			n.closeAlone(wire.CloseReplaced, "moved")
		}, "moved", true},
		{"an event that the dialect has no form for ends", func(c *ClientSocket, n *Connection) {
			c.out.queue.Push(event("fatal"))
		}, "fatal ", true},
		{"aborted", func(c *ClientSocket, n *Connection) {
			c.out.queue.Push(event("queued"))
			n.sendControl(event("control").M)
			n.out.abort()
		}, "", true},
	} {
		cs := clients(t, transport.Limits{}, nil)
		c, n := cs.open(t, plain{}, Opening{})
		c.mu.Lock()
		n.out.listed = true // the flusher takes nothing
		test.do(c, n)
		got := string(n.out.take(nil))
		if got != test.want || n.out.over != test.over {
			t.Errorf("%s: got %q and over %v, want %q and %v", test.name, got, n.out.over, test.want, test.over)
		}
		if test.over && len(n.out.take(nil)) > 0 {
			t.Errorf("%s: something is written after the last", test.name)
		}
		n.out.listed = false
		ended := c.ended
		c.mu.Unlock()
		if ended {
			c.reportEnd()
		}
	}
}

func TestAClientThatAsksAndDoesNotReadGetsNoMoreAnswers(t *testing.T) {
	cs := clients(t, transport.Limits{}, nil)
	c, n := cs.open(t, plain{}, Opening{})
	c.mu.Lock()
	n.out.writing = true // for as long as a write blocks
	c.mu.Unlock()
	for range 1000 {
		n.SendBytes(bytes.Repeat([]byte{'x'}, 100))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := len(n.out.control); got > maxControl || got < maxControl/2 {
		t.Errorf("%d bytes of answers wait, want up to %d", got, maxControl)
	}
	if got := string(n.out.take(nil)); strings.Trim(got, "x") != "" {
		t.Errorf("got %.50q, want answers alone", got)
	}
}
