package tree

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
)

// sweep sweeps in the transaction of p, so many messages of so many topics at most.
func sweep(t *testing.T, p *Plan, messages, topics int) {
	t.Helper()
	s := NewSweeper(p)
	s.Sweep(messages, topics)
	for _, err := range s.Warnings() {
		t.Error(err)
	}
}

func TestASweepGoesInSmallSteps(t *testing.T) {
	const n, step = 1000, 100
	do := planned(t)
	do(1, func(p *Plan) {
		for range n {
			mustAppend(t, p, "a", store.Retention{Age: time.Hour})
		}
	})
	later := time.Hour + time.Minute
	for left := n; left > 0; {
		var due int64
		was := left
		due = do(later, func(p *Plan) { sweep(t, p, step, math.MaxInt) })
		do(later, func(p *Plan) { left = count(p) })
		if was-left > step || was == left {
			t.Fatalf("one sweep deleted %d messages, want some, and at most %d", was-left, step)
		}
		if left > 0 && due > int64(later) {
			t.Fatalf("%d messages are left, and the next sweep is due at %d, want at once", left, due)
		}
	}
}

// Each topic may be on pages of its own: that few messages are deleted does not
// bound what a commit writes.
func TestASweepOfManyTopicsWritesFewPages(t *testing.T) {
	const topics, step = 400, 20
	do, pages := counted(t)
	for _, at := range []time.Duration{1, 30 * time.Minute} {
		do(at, func(p *Plan) {
			for i := range topics {
				m := store.Message{Event: "said", Payload: make([]byte, 1_500)}
				if _, _, err := p.Append(fmt.Sprint(i), m, store.Retention{Age: time.Hour}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	for left, later := 2*topics, time.Hour+time.Minute; left > topics; {
		was := left
		do(later, func(p *Plan) { sweep(t, p, math.MaxInt, step) })
		written := pages()
		do(later, func(p *Plan) { left = count(p) })
		if was-left != step || written > 3*step {
			t.Fatalf("one sweep looked at %d topics and wrote %d pages, want %d, and at most %d", was-left, written, step, 3*step)
		}
	}
}

// An entry that leads to nothing counts as well: many of them are no reason to stay.
func TestWhatLeadsToNothingIsSweptInSmallSteps(t *testing.T) {
	const entries, step = 100, 10
	do := planned(t)
	do(1, func(p *Plan) {
		for i := range entries {
			p.topics.put(p.topics.due, dueKey(1, uint64(i+1)), []byte("damaged"))
		}
	})
	do(2, func(p *Plan) {
		s := NewSweeper(p)
		s.Sweep(math.MaxInt, step)
		if n := len(s.Warnings()); n != step {
			t.Errorf("one sweep: got %d warnings, want %d", n, step)
		}
	})
	do(3, func(p *Plan) {
		if left := p.topics.due.Stats().KeyN; left != entries-step {
			t.Errorf("after one sweep: got %d entries, want %d", left, entries-step)
		}
	})
}

func TestManyTopicsAreDueInTheirOrder(t *testing.T) {
	do := planned(t)
	for i := range 100 {
		at := time.Duration(1+i) * time.Minute
		due := do(at, func(p *Plan) { mustAppend(t, p, fmt.Sprint(i), store.Retention{Age: 3 * time.Hour}) })
		if want := int64(3*time.Hour + time.Minute); due != want {
			t.Fatalf("after topic %d: due at %d, want when the first has aged, at %d", i, due, want)
		}
	}
	at := 3*time.Hour + 50*time.Minute
	due := do(at, func(p *Plan) { sweep(t, p, math.MaxInt, math.MaxInt) })
	if want := int64(at + time.Minute); due != want {
		t.Errorf("after half of them: due at %d, want %d", due, want)
	}
	do(at, func(p *Plan) {
		if n := count(p); n != 50 {
			t.Errorf("after half of them: got %d messages, want 50", n)
		}
	})
}

func TestForgottenMessagesAreDeletedBySweeps(t *testing.T) {
	do := planned(t)
	do(1, func(p *Plan) {
		for range 5000 {
			mustAppend(t, p, "a", store.Retention{})
		}
	})
	due := do(2, func(p *Plan) {
		if err := p.Forget("a"); err != nil {
			t.Error(err)
		}
	})
	if due != 2 {
		t.Errorf("after Forget: due at %d, want at once", due)
	}
	due = do(3, func(p *Plan) { sweep(t, p, math.MaxInt, math.MaxInt) })
	do(3, func(p *Plan) {
		if n := count(p); n != 0 {
			t.Errorf("after a sweep: got %d messages, want none", n)
		}
	})
	if want := int64(1 + remembered); due != want {
		t.Errorf("the topic is due at %d, want in 30 days, at %d", due, want)
	}
	do(time.Duration(due), func(p *Plan) { sweep(t, p, math.MaxInt, math.MaxInt) })
	do(time.Duration(due), func(p *Plan) {
		if p.topics.names.Stats().KeyN != 0 || p.topics.due.Stats().KeyN != 0 || p.topics.state.horizon != 5000 {
			t.Errorf("30 days later: got %d topics, %d due, horizon %d, want none, none, 5000", p.topics.names.Stats().KeyN, p.topics.due.Stats().KeyN, p.topics.state.horizon)
		}
	})
}
