package tree

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// planned runs transactions of a new file, each at a time of the test.
func planned(t *testing.T) func(at time.Duration, do func(*Plan)) (due int64) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "chime.db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.View(func(tx *bolt.Tx) error { _, err := Verify(tx); return err }); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	state := State{Epoch: "e"}
	if err := db.Update(func(tx *bolt.Tx) error { return Create(tx, &state) }); err != nil {
		t.Fatal(err)
	}
	return func(at time.Duration, do func(*Plan)) (due int64) {
		t.Helper()
		if err := db.Update(func(tx *bolt.Tx) error {
			p, err := Begin(tx, int64(at), nil)
			if err != nil {
				return err
			}
			do(p)
			for _, err := range p.Warnings() {
				t.Error(err)
			}
			due, err = p.End()
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return due
	}
}

func count(p *Plan) int { return p.messages.Stats().KeyN - p.names.Stats().KeyN }

func mustAppend(t *testing.T, p *Plan, topic string, keep store.Retention) {
	t.Helper()
	if _, err := p.Append(topic, store.Message{Event: "said"}, keep); err != nil {
		t.Fatal(err)
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
		due = do(later, func(p *Plan) { p.Sweep(step) })
		do(later, func(p *Plan) { left = count(p) })
		if was-left > step || was == left {
			t.Fatalf("one sweep deleted %d messages, want some, and at most %d", was-left, step)
		}
		if left > 0 && due > int64(later) {
			t.Fatalf("%d messages are left, and the next sweep is due at %d, want at once", left, due)
		}
	}
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
	due := do(at, func(p *Plan) { p.Sweep(math.MaxInt) })
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
	due = do(3, func(p *Plan) { p.Sweep(math.MaxInt) })
	do(3, func(p *Plan) {
		if n := count(p); n != 0 {
			t.Errorf("after a sweep: got %d messages, want none", n)
		}
	})
	if want := int64(1 + remembered); due != want {
		t.Errorf("the topic is due at %d, want in 30 days, at %d", due, want)
	}
	do(time.Duration(due), func(p *Plan) { p.Sweep(math.MaxInt) })
	do(time.Duration(due), func(p *Plan) {
		if p.names.Stats().KeyN != 0 || p.due.Stats().KeyN != 0 || p.state.horizon != 5000 {
			t.Errorf("30 days later: got %d topics, %d due, horizon %d, want none, none, 5000", p.names.Stats().KeyN, p.due.Stats().KeyN, p.state.horizon)
		}
	})
}

// An age that becomes shorter counts from then on.
func TestAShorterAgeIsDueSooner(t *testing.T) {
	do := planned(t)
	do(1, func(p *Plan) { mustAppend(t, p, "a", store.Retention{Age: 24 * time.Hour}) })
	due := do(2, func(p *Plan) { mustAppend(t, p, "a", store.Retention{Age: time.Hour}) })
	if want := int64(1 + time.Hour); due != want {
		t.Errorf("due at %d, want %d", due, want)
	}
}
