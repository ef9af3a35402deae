package contract

import (
	"path/filepath"
	"testing"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/store/boltstore/boltfile"
)

// OpenMemory opens a store in memory, which is closed at the end of the test.
func OpenMemory(t *testing.T) store.Store {
	t.Helper()
	s := store.NewMemory()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// OpenFile opens a new store in a file. At the end of the test it is closed, and
// the file verified.
func OpenFile(t *testing.T) store.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chime.db")
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if _, err := boltfile.Verify(path); err != nil {
			t.Error(err)
		}
	})
	return s
}
