// Package history_test is what docs/history.md shows.
package history_test

import (
	"context"
	"errors"
	"log"
	"os"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/store/boltstore"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestTheFileIsClosedAfterItsRouter(t *testing.T) {
	t.Chdir(t.TempDir())
	serve(t.Context())
	kept, err := boltstore.Open("chime.db", boltstore.Options{})
	if err != nil {
		t.Fatal(err) // it is still open
	}
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
}

func TestABackupReplacesTheFormerOne(t *testing.T) {
	t.Chdir(t.TempDir())
	kept, err := boltstore.Open("chime.db", boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := save(kept, "backup.db"); err != nil {
			t.Error(err)
		}
	}
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) != 2 {
		t.Errorf("got %v and error %v, want chime.db and backup.db", left, err)
	}
}

func serve(ctx context.Context) {
	kept, err := boltstore.Open("chime.db", boltstore.Options{})
	if err != nil {
		log.Fatal(err) // names the file, what is wrong with it, and what to do
	}
	rt := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(kept))
	// … and at the end, in this order: a handler may still broadcast while it ends.
	log.Print(errors.Join(rt.Shutdown(ctx), kept.Close()))
}

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
