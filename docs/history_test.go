package docs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/store/boltstore/boltfile"
)

// save writes a backup while messages come in. The former one is there until
// this one is whole. What is left at path+".new" by a process that was killed
// meanwhile is in the way until somebody removes it.
func save(kept *boltstore.Store, path string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(kept.Backup(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

// The backup that history.md shows is for its owner alone, and never costs the
// former one.
func TestTheBackupOfTheHistoryPage(t *testing.T) {
	source, err := os.ReadFile("history_test.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("history.md")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(source), "\n// save writes")
	recipe, _, _ = strings.Cut(recipe, "\n}\n")
	if !strings.Contains(string(page), "\n// save writes"+recipe+"\n}\n") {
		t.Error("history.md shows another save than this test has")
	}

	dir := t.TempDir()
	kept, err := boltstore.Open(filepath.Join(dir, "chime.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "backup.db")
	wantMessages := func(want int) {
		t.Helper()
		report, err := boltfile.Verify(path)
		if err != nil || report.Messages != want {
			t.Errorf("the backup: got %d messages, %v, want %d", report.Messages, err, want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the backup: got %v, %v, want it to be read by its owner alone", info.Mode(), err)
		}
	}
	for want := range 2 {
		if err := save(kept, path); err != nil {
			t.Fatal(err)
		}
		wantMessages(want)
		m := store.Message{At: time.Now(), Event: "said", Payload: []byte(`"hi"`)}
		if _, err := kept.Append(t.Context(), "room:1", m, store.Retention{Keep: 10}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	if err := save(kept, path); !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a store that is closed: got %v, want %v", err, store.ErrClosed)
	}
	wantMessages(1)
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what failed has left its file behind: %v", err)
	}
}
