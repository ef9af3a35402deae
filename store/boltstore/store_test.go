package boltstore

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
	"github.com/go-chime/chime/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(victimEnv); path != "" {
		victim(path)
		return
	}
	if path := os.Getenv(openerEnv); path != "" {
		opener(path)
		return
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // new epochs are many here
	need.FilesInMemory()
	leak.Main(m)
}

func TestStore(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T) store.Store { return begun(t) }, again)
}

// again opens the file of s, or, if killed, a copy from before its end.
func again(t *testing.T, s store.Store, killed bool) store.Store {
	t.Helper()
	was := s.(*Store)
	path := pathOf(was)
	if killed {
		synctest.Wait() // a copy can't be as of one moment while a commit comes
		path = filepath.Join(t.TempDir(), "killed.db")
		filetest.Copy(t, pathOf(was), path)
	}
	if err := was.Close(); err != nil {
		t.Error(err)
	}
	return opened(t, path)
}

func pathOf(s *Store) string { return s.file.Path() }

// begun opens a new store. At the end of the test it is closed, and its file verified.
func begun(t testing.TB) *Store {
	t.Helper()
	return opened(t, filepath.Join(t.TempDir(), "chime.db"))
}

func opened(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		filetest.Sound(t, path)
	})
	return s
}

func say(t testing.TB, s *Store, topic, text string, keep store.Retention) (announced store.Message) {
	t.Helper()
	m := store.Message{Event: "said", Payload: []byte(text)}
	if _, err := s.Append(context.Background(), topic, m, keep, func(m store.Message) { announced = m }); err != nil {
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
