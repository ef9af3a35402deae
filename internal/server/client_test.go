package server

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// brokenLine is a connection whose writes fail, some bytes into a frame.
type brokenLine struct {
	line
	mu     sync.Mutex // guards what follows
	failed bool
	later  int // writes after one that has failed
}

var errBroken = errors.New("broken")

func (l *brokenLine) open(b []byte) []byte         { return b }
func (l *brokenLine) seal(b []byte, _ bool) []byte { return b }
func (l *brokenLine) hangUp(bool)                  {}
func (l *brokenLine) hurry(time.Duration)          {}
func (l *brokenLine) encode(b []byte, _ *client, it item, _ uint64) []byte {
	return it.m.AppendEvent(b)
}
func (l *brokenLine) farewell(b []byte, _ wire.CloseCode, _ string) []byte { return append(b, '.') }

// try leaves all to a write that may block.
func (l *brokenLine) try(*nonblocking, []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		l.later++
	}
	return 0, nil
}

func (l *brokenLine) write([]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		l.later++
	}
	l.failed = true
	return errBroken
}

// What follows half a frame would be taken for its other half.
func TestNothingIsWrittenAfterAWriteThatFailed(t *testing.T) {
	m := wire.NewPush("room:1", "said", []byte("{}"), 0)
	for round := range 300 {
		s, err := New(anybody)
		if err != nil {
			t.Fatal(err)
		}
		l := &brokenLine{}
		c := &client{server: s, flusher: &s.flushers.shards[0], receiver: deaf{}}
		c.conn = &connection{c: c, line: l}
		var sending sync.WaitGroup
		for range 4 {
			sending.Go(func() {
				for c.Send(m, "") == nil {
				}
			})
		}
		sending.Wait()
		if err := s.tasks.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l.later > 0 {
			t.Fatalf("round %d: %d writes after one that had failed", round, l.later)
		}
	}
}

type deaf struct{}

func (deaf) Receive(wire.Frame)      {}
func (deaf) Closed(transport.Reason) {}
