package server

import (
	"context"
	"slices"
	"testing"

	"github.com/go-chime/chime/internal/wire"
)

// greedyLine takes whatever is written to it, at once, and notes its name.
type greedyLine struct {
	brokenLine
	name   string
	writes *[]string // in the order of all lines
}

func (l *greedyLine) try(_ *nonblocking, b []byte) (int, error) {
	*l.writes = append(*l.writes, l.name)
	return len(b), nil
}

// A flusher writes for many. One with much to be written, whose connection takes
// it as fast as it comes, has its turn, and then the others have theirs.
func TestNobodyKeepsAFlusherForHimself(t *testing.T) {
	s, err := New(anybody)
	if err != nil {
		t.Fatal(err)
	}
	var writes []string
	f := &s.flushers.shards[0]
	for _, who := range []struct {
		name     string
		messages int
	}{{"much", 1000}, {"little", 1}} {
		c := &client{server: s, flusher: f, receiver: deaf{}}
		c.conn = &connection{c: c, line: &greedyLine{name: who.name, writes: &writes}, dirty: true}
		m := wire.NewPush("room:1", "said", make([]byte, 10_000), 0)
		for range who.messages {
			c.queue.push(item{m: m})
		}
		f.dirty = append(f.dirty, c.conn)
	}
	f.running = true
	s.tasks.Do(f.run)
	if err := s.tasks.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if i := slices.Index(writes, "little"); i < 0 || i*maxWrite > 2*maxTurn || i == len(writes)-1 {
		t.Errorf("of %d writes the one for who has little is number %d", len(writes), i+1)
	}
}
