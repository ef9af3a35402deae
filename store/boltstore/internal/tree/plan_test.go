package tree

import (
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// planned runs transactions of a new file, each at a time of the test.
func planned(t *testing.T) func(at time.Duration, do func(*Plan)) (due int64) {
	t.Helper()
	do, _ := counted(t)
	return do
}

// counted is planned, and says how many pages the last transaction has written.
func counted(t *testing.T) (do func(at time.Duration, do func(*Plan)) (due int64), pages func() int64) {
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
	var last *bolt.Tx
	do = func(at time.Duration, do func(*Plan)) (due int64) {
		t.Helper()
		if err := db.Update(func(tx *bolt.Tx) error {
			last = tx
			p, err := Begin(tx, int64(at), nil)
			if err != nil {
				return err
			}
			do(p)
			due, err = p.End()
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return due
	}
	return do, func() int64 {
		stats := last.Stats()
		return stats.GetWrite()
	}
}

func count(p *Plan) int { return p.topics.messages.Stats().KeyN - p.topics.names.Stats().KeyN }

func mustAppend(t *testing.T, p *Plan, topic string, keep store.Retention) {
	t.Helper()
	if _, _, err := p.Append(topic, store.Message{Event: "said"}, keep); err != nil {
		t.Fatal(err)
	}
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
