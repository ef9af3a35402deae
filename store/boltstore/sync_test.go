package boltstore

import (
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// The name of a new file is on the disk before there is a history in it, whoever
// has made it; and what a crash left is, before it is built upon.
func TestWhatIsOpenedIsOnTheDiskFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chime.db")
	open := func(path, fails string, want ...string) *Store {
		t.Helper()
		d := filetest.NewSyncs(t, path)
		d.Fails = fails
		s, err := Open(path, Options{sync: d.Sync})
		d.Want(want...)
		if fails != "" {
			filetest.Explains(t, err, path, syscall.EIO, "disk")
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	open(path, "directory, new file", "directory, new file")
	open(path, "directory, old file", "directory, old file") // it is there, and still new
	s := open(path, "", "directory, old file")
	m := sayN(t, s, 10, store.Retention{})
	crashed := filepath.Join(t.TempDir(), "crashed.db")
	filetest.Copy(t, path, crashed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(path, "").Close(); err != nil { // nothing to do
		t.Error(err)
	}
	open(crashed, "file, old file", "file, old file")
	s = open(crashed, "", "file, old file")
	if p := read(t, s, "a", store.Range{}); !slices.EqualFunc(p.Messages, m, filetest.Same) {
		t.Errorf("got %d messages, want %d", len(p.Messages), len(m))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
