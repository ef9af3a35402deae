package boltstore

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(victimEnv); path != "" {
		victim(path)
		return
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // new epochs are many here
	leak.Main(m)
}

func TestStore(t *testing.T) {
	for _, o := range modes {
		t.Run(o.name, func(t *testing.T) {
			storetest.RunDurable(t, func(t *testing.T) store.Store { return begun(t, o.Options) }, again)
		})
	}
}

// again opens the file of s, or, if killed, a copy from before its end. One that
// writes behind is closed in any case: it may lose what a kill finds on its way.
func again(t *testing.T, s store.Store, killed bool) store.Store {
	t.Helper()
	was := s.(*Store)
	path := was.path
	if killed && !was.behind {
		synctest.Wait() // a copy can't be as of one moment while a commit comes
		path = filepath.Join(t.TempDir(), "killed.db")
		copyFile(t, was.path, path)
	}
	if err := was.Close(); err != nil {
		t.Error(err)
	}
	return opened(t, path, was.options)
}

var modes = []struct {
	name string
	Options
}{
	{"durable", Options{}},
	{"write-behind", Options{WriteBehind: true}},
}

// begun opens a new store. At the end of the test it is closed, and its file verified.
func begun(t testing.TB, o Options) *Store {
	t.Helper()
	return opened(t, filepath.Join(t.TempDir(), "chime.db"), o)
}

func opened(t testing.TB, path string, o Options) *Store {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		sound(t, path)
	})
	return s
}

// sound fails the test if the file, which nobody has open, is not consistent.
func sound(t testing.TB, path string) Report {
	t.Helper()
	r, err := Verify(path)
	if err != nil {
		t.Errorf("%v", err)
	}
	db, _, err := openBolt(path, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	_ = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt: %v", err)
		}
		return nil
	})
	return r
}

func say(t testing.TB, s *Store, topic, text string, keep store.Retention) (announced store.Message) {
	t.Helper()
	m := store.Message{Event: "said", Payload: []byte(text)}
	if err := s.Append(context.Background(), topic, m, keep, func(m store.Message) { announced = m }); err != nil {
		t.Fatal(err)
	}
	return announced
}

// sayN appends n messages to the topic a.
func sayN(t testing.TB, s *Store, n int, keep store.Retention) (announced []store.Message) {
	t.Helper()
	for i := range n {
		announced = append(announced, say(t, s, "a", fmt.Sprint(i), keep))
	}
	return announced
}

func read(t testing.TB, s *Store, topic string, r store.Range) store.Page {
	t.Helper()
	p, err := s.Read(context.Background(), topic, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
